using System.Globalization;
using QwixSharp.Checkpoints.Files;

namespace QwixSharp.Checkpoints.Gguf;

/// <summary>A GGUF file, as llama.cpp reads it.</summary>
/// <remarks>
/// <see cref="Checkpoint.Metadata"/> has the metadata as text, <see cref="Values"/> as they are. Blocks are read through
/// <see cref="Checkpoint.LogicalTensors"/>.
/// </remarks>
public sealed class GgufCheckpoint : Checkpoint
{
    private readonly Dictionary<string, GgufTensor> _tensors;

    internal GgufCheckpoint(string path, CheckpointFile file, GgufHeader header)
        : base(path, [file], [.. header.Tensors.Select(t => new StoredTensor(EntryOf(t), file, t.Offset))], AsText(header.Metadata))
    {
        Version = header.Version;
        Values = header.Metadata;
        _tensors = header.Tensors.ToDictionary(t => t.Name, StringComparer.Ordinal);
    }

    /// <inheritdoc/>
    public override string Format => "gguf";

    /// <summary>The version of the format: 2 or 3.</summary>
    public int Version { get; }

    /// <summary>
    /// The metadata in the order of the file: byte, sbyte, ushort, short, uint, int, ulong, long, float, double, bool, string, an
    /// array of one of these, or an <c>Array[]</c> of such arrays.
    /// </summary>
    public IReadOnlyDictionary<string, object> Values { get; }

    /// <summary>How a tensor is stored.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The type.</returns>
    /// <exception cref="CheckpointException">There is no tensor by that name.</exception>
    public GgufTensorType TypeOf(string name) => Tensor(name).Type;

    internal CheckpointFile File => Files[0];

    internal GgufTensor Tensor(string name) => _tensors[Entry(name).Name];

    private static TensorEntry EntryOf(GgufTensor tensor) => new(tensor.Name, DtypeOf(tensor.Type), tensor.Type.Name, tensor.Shape, tensor.ByteLength);

    private static CheckpointDtype DtypeOf(GgufTensorType type) => type.Name switch
    {
        "F64" => CheckpointDtype.Float64,
        "F32" => CheckpointDtype.Float32,
        "F16" => CheckpointDtype.Float16,
        "BF16" => CheckpointDtype.BFloat16,
        "I64" => CheckpointDtype.Int64,
        "I32" => CheckpointDtype.Int32,
        "I16" => CheckpointDtype.Int16,
        "I8" => CheckpointDtype.Int8,
        _ => CheckpointDtype.Other,
    };

    private static Dictionary<string, string> AsText(IReadOnlyDictionary<string, object> metadata) =>
        metadata.ToDictionary(p => p.Key, p => p.Value is Array array ? $"{array.Length} values" : string.Create(CultureInfo.InvariantCulture, $"{p.Value}"), StringComparer.Ordinal);
}

/// <summary>The file format GGUF.</summary>
internal sealed class GgufFormat : ICheckpointFormat
{
    public IReadOnlyList<string> FileNames => ["*.gguf"];

    public bool Recognizes(string path, ReadOnlySpan<byte> start) => start.StartsWith("GGUF"u8) || path.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase);

    public Checkpoint Open(string file, string path)
    {
        var opened = new CheckpointFile(file);
        try
        {
            return new GgufCheckpoint(path, opened, GgufHeader.Read(opened));
        }
        catch
        {
            opened.Dispose();
            throw;
        }
    }
}
