using System.Buffers.Binary;
using System.Text.Json;
using QwixSharp.Checkpoints.Files;

namespace QwixSharp.Checkpoints.Safetensors;

/// <summary>
/// Reads the header of a safetensors file: eight bytes that give its length, then JSON from each tensor's name to its dtype,
/// shape and place among the bytes that follow. Everything is checked against the file's real size before it is believed.
/// </summary>
/// <remarks>The format and its rules are those of github.com/huggingface/safetensors.</remarks>
internal sealed class SafetensorsHeader
{
    /// <summary>The longest header that the format's own library reads.</summary>
    private const long MaxLength = 100_000_000;

    /// <summary>Valid headers nest to a depth of three.</summary>
    private const int MaxDepth = 8;

    private readonly CheckpointFile _file;
    private readonly long _dataStart;
    private readonly List<StoredTensor> _tensors = [];
    private readonly HashSet<string> _names = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _metadata = new(StringComparer.Ordinal);

    private SafetensorsHeader(CheckpointFile file, long dataStart)
    {
        _file = file;
        _dataStart = dataStart;
    }

    /// <summary>The tensors in the order of their bytes.</summary>
    internal IReadOnlyList<StoredTensor> Tensors => _tensors;

    /// <summary>What the header says beside the tensors.</summary>
    internal IReadOnlyDictionary<string, string> Metadata => _metadata;

    /// <summary>Whether bytes look like the start of a safetensors file.</summary>
    internal static bool IsStart(ReadOnlySpan<byte> start) =>
        start.Length >= 9 && BinaryPrimitives.ReadUInt64LittleEndian(start) is >= 2 and <= MaxLength && start[8] == (byte)'{';

    /// <summary>Reads the header of a file.</summary>
    /// <exception cref="CheckpointException">The header contradicts itself or the file; the message says where.</exception>
    internal static SafetensorsHeader Read(CheckpointFile file)
    {
        if (file.Length < 8)
            throw Fault(file, $"it has {file.Length} bytes, too few for a header");
        Span<byte> prefix = stackalloc byte[8];
        file.Read(prefix, 0);
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (length > (ulong)(file.Length - 8))
            throw Fault(file, $"its header claims {length} bytes, but {file.Length - 8} follow. The file is cut short, or is not safetensors");
        if (length > MaxLength)
            throw Fault(file, $"its header has {length} bytes, more than the {MaxLength} that are allowed");
        var json = new byte[length];
        file.Read(json, 8);

        var header = new SafetensorsHeader(file, 8 + (long)length);
        try
        {
            header.Parse(json);
        }
        catch (JsonException error)
        {
            throw Fault(file, $"its header is not valid JSON: {CheckpointException.Describe(error)}", error);
        }
        catch (InvalidOperationException error)
        {
            throw Fault(file, "its header is not valid JSON: it has text that is not UTF-8", error);
        }

        header.CheckPlaces();
        return header;
    }

    private void Parse(byte[] json)
    {
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = MaxDepth });
        if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            throw Fault("its header is not a JSON object");
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString()!;
            if (!_names.Add(name))
                throw Fault($"its header has {CheckpointException.Quote(name)} twice");
            reader.Read();
            if (name == "__metadata__")
                ParseMetadata(ref reader);
            else
                _tensors.Add(ParseTensor(ref reader, name));
        }

        // Padding may follow the object, but nothing else.
        if (reader.Read())
            throw Fault("its header goes on after its end");
    }

    private void ParseMetadata(ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
            throw Fault("its __metadata__ is not an object");
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var key = reader.GetString()!;
            reader.Read();
            if (reader.TokenType != JsonTokenType.String)
                throw Fault($"its __metadata__ {CheckpointException.Quote(key)} is not text");
            if (!_metadata.TryAdd(key, reader.GetString()!))
                throw Fault($"its __metadata__ has {CheckpointException.Quote(key)} twice");
        }
    }

    private StoredTensor ParseTensor(ref Utf8JsonReader reader, string name)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
            throw Fault(name, "is not described by an object");
        string? typeName = null;
        List<long>? shape = null, offsets = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var key = reader.GetString();
            reader.Read();
            bool isNew = true;
            switch (key)
            {
                case "dtype":
                    isNew = typeName is null;
                    typeName = reader.TokenType == JsonTokenType.String ? reader.GetString() : throw Fault(name, "has a dtype that is not text");
                    break;
                case "shape":
                    isNew = shape is null;
                    shape = ParseNumbers(ref reader, name, "shape", TensorEntry.MaxRank);
                    break;
                case "data_offsets":
                    isNew = offsets is null;
                    offsets = ParseNumbers(ref reader, name, "data_offsets", 2);
                    break;
                default:
                    reader.Skip();
                    break;
            }

            if (!isNew)
                throw Fault(name, $"has {key} twice");
        }

        if (typeName is null || shape is null || offsets is not [var begin, var end])
            throw Fault(name, "needs a dtype, a shape and two data_offsets");
        if (!SafetensorsDtypes.TryParse(typeName, out var dtype))
            throw Fault(name, $"has the dtype {CheckpointException.Quote(typeName)}, which safetensors does not know");
        return new StoredTensor(new TensorEntry(name, dtype, typeName, [.. shape], CheckLength(name, dtype, shape, begin, end)), _file, _dataStart + begin);
    }

    private long CheckLength(string name, CheckpointDtype dtype, List<long> shape, long begin, long end)
    {
        if (end < begin || end > _file.Length - _dataStart)
            throw Fault(name, $"has the data_offsets [{begin}, {end}], but the file holds {_file.Length - _dataStart} bytes of data. The file is cut short or damaged");
        long bytes;
        try
        {
            bytes = SafetensorsDtypes.CountBytes(dtype, [.. shape]);
        }
        catch (FormatException error)
        {
            throw Fault(name, $"cannot be read: {error.Message}", error);
        }

        return bytes == end - begin ? bytes : throw Fault(name, $"takes {bytes} bytes by its shape [{string.Join(", ", shape)}], but {end - begin} by its data_offsets");
    }

    private List<long> ParseNumbers(ref Utf8JsonReader reader, string name, string key, int most)
    {
        if (reader.TokenType != JsonTokenType.StartArray)
            throw Fault(name, $"has a {key} that is not an array");
        List<long> numbers = [];
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out long number) || number < 0)
                throw Fault(name, $"has a {key} with what is not a whole number from 0 to {long.MaxValue}");
            if (numbers.Count == most)
                throw Fault(name, $"has a {key} of more than {most} numbers");
            numbers.Add(number);
        }

        return numbers;
    }

    /// <summary>Every byte of the data belongs to one tensor: so the format wants it, and so nothing is hidden in a file.</summary>
    private void CheckPlaces()
    {
        _tensors.Sort((a, b) => (a.Offset, a.Entry.ByteLength).CompareTo((b.Offset, b.Entry.ByteLength)));
        long end = _dataStart;
        foreach (var (entry, _, offset) in _tensors)
        {
            if (offset != end)
                throw Fault(entry.Name, offset < end ? "overlaps the tensor before it" : $"leaves a hole of {offset - end} bytes before it");
            end = offset + entry.ByteLength;
        }

        if (end != _file.Length)
            throw Fault($"it has {_file.Length - end} bytes after its last tensor");
    }

    private CheckpointException Fault(string what) => Fault(_file, what);

    private CheckpointException Fault(string name, string what, Exception? error = null) => Fault(_file, $"tensor {CheckpointException.Quote(name)} {what}", error);

    private static CheckpointException Fault(CheckpointFile file, string what, Exception? error = null)
    {
        var message = $"{CheckpointException.Quote(file.Path)} is not a valid safetensors file: {what}.";
        return error is null ? new CheckpointException(message) : new CheckpointException(message, error);
    }
}
