using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Files;
using QwixSharp.Checkpoints.Gguf.Blocks;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Gguf;

/// <summary>
/// Writes a GGUF file, one tensor after another in any order, also from several threads. The file appears under its name
/// when <see cref="Complete"/> is called and not before; disposing the writer without that leaves nothing.
/// </summary>
public sealed unsafe class GgufWriter : IDisposable
{
    /// <summary>The values that are turned into blocks at a time.</summary>
    private const int ChunkLength = 1 << 18;

    private readonly Dictionary<string, Place> _places = new(StringComparer.Ordinal);
    private readonly NewFile _file;

    /// <summary>Begins a file and writes its header.</summary>
    /// <param name="path">The name that the file will have.</param>
    /// <param name="metadata">From key to a number, a bool, a string or an array of one of these, in the order in which they are written.</param>
    /// <param name="tensors">The name, type and shape of each tensor, in the order in which they are written.</param>
    /// <exception cref="ArgumentException">A metadata value has no kind in GGUF; two tensors have one name, or one a type that is not written or a shape that its type cannot have.</exception>
    /// <exception cref="CheckpointException">The file cannot be written.</exception>
    public GgufWriter(string path, IEnumerable<KeyValuePair<string, object>> metadata, IEnumerable<(string Name, GgufTensorType Type, long[] Shape)> tensors)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(metadata);
        ArgumentNullException.ThrowIfNull(tensors);
        var pairs = metadata.ToArray();
        uint alignment = Alignment(pairs);
        var placed = new List<GgufTensor>();
        long offset = 0;
        foreach (var (name, type, shape) in tensors)
        {
            var tensor = new GgufTensor(name, type, shape, offset, CountBytes(name, type, shape));
            placed.Add(tensor);
            offset = GgufHeader.Align(offset + tensor.ByteLength, alignment);
        }

        byte[] header = GgufHeaderWriter.Write(pairs, placed, alignment);
        foreach (var tensor in placed)
        {
            if (!_places.TryAdd(tensor.Name, new Place(tensor with { Offset = header.Length + tensor.Offset })))
                throw new ArgumentException($"Two tensors have the name {CheckpointException.Quote(tensor.Name)}.", nameof(tensors));
        }

        _file = new NewFile(path, header.Length + offset);
        try
        {
            _file.Write(header, 0);
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    /// <summary>Writes a tensor, quantized to the type that was announced for it.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="values">Floating-point values of the announced shape, of any dtype, on any device.</param>
    /// <exception cref="ArgumentException">No such tensor was announced, or one of another shape, or of a type that is only read.</exception>
    /// <exception cref="CheckpointException">A scale is not finite in float16; or the file cannot be written.</exception>
    public void Write(string name, Tensor values)
    {
        ArgumentNullException.ThrowIfNull(values);
        var place = Announced(name, values.shape);
        var tensor = place.Tensor;
        if (!tensor.Type.CanWrite)
            throw new ArgumentException($"The tensor {CheckpointException.Quote(name)} was announced as {tensor.Type}, to which nothing is quantized. Copy stored bytes, or announce it as Q8_0.", nameof(name));
        using var scope = NewDisposeScope();
        var plain = values.detach().cpu().to(GgufValues.PlainDtype(tensor.Type) ?? ScalarType.Float32).contiguous();
        byte* address = (byte*)TensorMemory.Address(plain);
        if (tensor.Type.Encode is { } encode)
            WriteBlocks(place, (first, count, blocks) => encode(new ReadOnlySpan<float>((float*)address + (first * tensor.Type.BlockLength), count * tensor.Type.BlockLength), blocks));
        else
            WritePlain(place, address);
        GC.KeepAlive(plain);
    }

    /// <summary>
    /// Writes a QArray without quantizing it again: int8 as Q8_0, int4 as Q4_0. Codes stay as they are; the file is exact
    /// where the scales are float16 numbers, else scales are rounded to float16, 11 bits.
    /// </summary>
    /// <param name="name">The tensor's name.</param>
    /// <param name="array">A symmetric int8 or int4 array of the announced shape whose scales are shared by a multiple of 32 values along the last axis.</param>
    /// <exception cref="ArgumentException">No such tensor was announced, or one of another shape or type; or the array has a zero point or smaller tiles.</exception>
    /// <exception cref="CheckpointException">A scale is not finite in float16; or the file cannot be written.</exception>
    public void Write(string name, QArray array)
    {
        ArgumentNullException.ThrowIfNull(array);
        var place = Announced(name, array.Shape);
        var tensor = place.Tensor;
        if (TypeOf(array) != tensor.Type)
            throw new ArgumentException($"The tensor {CheckpointException.Quote(name)} was announced as {tensor.Type}, but {array} is {(TypeOf(array) is { } type ? $"written as {type}" : "none that blocks of 32 can hold: dequantize it")}.", nameof(array));
        using var scope = NewDisposeScope();
        // What only a kernel's form has is restored for this alone.
        using var lent = array.Lend();
        var codes = lent.Codes.cpu().contiguous();
        long[] tiles = [.. array.Shape[..^1], array.Shape[^1] / BlockMath.Length];
        var scale = ExpandScale(lent, tiles).to(ScalarType.Float32).cpu().contiguous();
        byte* codesAt = (byte*)TensorMemory.Address(codes);
        float* scaleAt = (float*)TensorMemory.Address(scale);
        int codeBytes = BlockMath.Length * array.QType.StorageBits / 8;
        WriteBlocks(place, (first, count, blocks) =>
        {
            var chunkCodes = new ReadOnlySpan<byte>(codesAt + (first * codeBytes), count * codeBytes);
            var chunkScales = new ReadOnlySpan<float>(scaleAt + first, count);
            if (tensor.Type == GgufTensorType.Q8_0)
                Q8Blocks.Join(chunkCodes, chunkScales, blocks);
            else
                Q4Blocks.Join(chunkCodes, chunkScales, blocks);
        });
        GC.KeepAlive(codes);
        GC.KeepAlive(scale);
    }

    /// <summary>Writes bytes of a tensor as they are stored, such as those of a file that is copied. Each byte is written once.</summary>
    /// <param name="name">Its name, as announced.</param>
    /// <param name="bytes">The bytes.</param>
    /// <param name="offset">The place of the first, counted from the start of the tensor.</param>
    /// <exception cref="ArgumentException">No such tensor was announced, or it does not have as many bytes.</exception>
    /// <exception cref="CheckpointException">They cannot be written.</exception>
    public void Write(string name, ReadOnlySpan<byte> bytes, long offset = 0)
    {
        var place = Find(name);
        if (offset < 0 || offset > place.Tensor.ByteLength - bytes.Length)
            throw new ArgumentException($"Bytes {offset} to {offset + bytes.Length} are not within the {place.Tensor.ByteLength} of the tensor {CheckpointException.Quote(name)}.", nameof(offset));
        Write(place, bytes, offset);
    }

    /// <summary>The type as which <see cref="Write(string, QArray)"/> writes an array, or null where it cannot.</summary>
    /// <param name="array">The array.</param>
    /// <returns>Q8_0, Q4_0 or null.</returns>
    public static GgufTensorType? TypeOf(QArray array)
    {
        ArgumentNullException.ThrowIfNull(array);
        return TypeOf(array.Shape.ToArray(), new TensorQuantization(array.QType, array.ScaleShape.ToArray(), array.ZeroPoint is not null));
    }

    /// <summary>The type as which an array of a shape, quantized so, is written; or null where it cannot.</summary>
    internal static GgufTensorType? TypeOf(IReadOnlyList<long> shape, TensorQuantization quantization)
    {
        if (quantization.HasZeroPoint || shape.Count is 0 or > GgufHeader.MaxRank || shape[^1] / quantization.ScaleShape[^1] % BlockMath.Length != 0)
            return null;
        return quantization.QType == QType.Int8 ? GgufTensorType.Q8_0 : quantization.QType == QType.Int4 ? GgufTensorType.Q4_0 : null;
    }

    /// <summary>Brings the file to the disk and gives it its name.</summary>
    /// <exception cref="InvalidOperationException">A tensor that was announced has not been written in whole.</exception>
    /// <exception cref="CheckpointException">The file cannot be written.</exception>
    public void Complete()
    {
        if (_places.Values.FirstOrDefault(p => p.Written != p.Tensor.ByteLength) is { } place)
            throw new InvalidOperationException($"{place.Written} of the {place.Tensor.ByteLength} bytes of the tensor {CheckpointException.Quote(place.Tensor.Name)} were written.");
        _file.Complete();
    }

    /// <summary>Deletes what was written, unless the file is complete.</summary>
    public void Dispose() => _file.Dispose();

    private static uint Alignment(KeyValuePair<string, object>[] metadata)
    {
        object value = metadata.Where(p => p.Key == GgufHeader.AlignmentKey).Select(p => p.Value).FirstOrDefault((uint)GgufHeader.DefaultAlignment);
        return value is uint alignment && System.Numerics.BitOperations.IsPow2(alignment)
            ? alignment
            : throw new ArgumentException($"The metadata value of \"{GgufHeader.AlignmentKey}\" is a uint that is a power of two, not {value}.", nameof(metadata));
    }

    private static long CountBytes(string name, GgufTensorType type, long[] shape)
    {
        if (shape.Length > GgufHeader.MaxRank)
            throw new ArgumentException($"The tensor {CheckpointException.Quote(name)} has {shape.Length} axes, but GGUF has at most {GgufHeader.MaxRank}.");
        try
        {
            return GgufHeader.CountBytes(type, shape);
        }
        catch (FormatException error)
        {
            throw new ArgumentException($"The tensor {CheckpointException.Quote(name)} cannot be written as {type}: {error.Message}. Use F16 for it.", error);
        }
    }

    private static Tensor ExpandScale(QArray array, long[] tiles)
    {
        var scale = array.Scale;
        for (int axis = 0; axis < tiles.Length; axis++)
        {
            if (scale.shape[axis] != tiles[axis])
                scale = scale.repeat_interleave(tiles[axis] / scale.shape[axis], axis);
        }

        return scale;
    }

    private Place Find(string name) =>
        _places.TryGetValue(name, out var place) ? place : throw new ArgumentException($"No tensor {CheckpointException.Quote(name)} was announced.", nameof(name));

    private Place Announced(string name, ReadOnlySpan<long> shape)
    {
        var place = Find(name);
        return shape.SequenceEqual(place.Tensor.Shape)
            ? place
            : throw new ArgumentException($"The tensor {CheckpointException.Quote(name)} was announced with the shape {HowToQuantize.Format(place.Tensor.Shape)}, but has {HowToQuantize.Format(shape)}.", nameof(shape));
    }

    private void WriteBlocks(Place place, Action<long, int, Span<byte>> encode)
    {
        var tensor = place.Tensor;
        int blocksPerChunk = ChunkLength / tensor.Type.BlockLength;
        long blocks = tensor.ByteLength / tensor.Type.BlockSize;
        var buffer = new byte[Math.Min(blocksPerChunk, blocks) * tensor.Type.BlockSize];
        for (long first = 0; first < blocks; first += blocksPerChunk)
        {
            int count = (int)Math.Min(blocksPerChunk, blocks - first);
            var chunk = buffer.AsSpan(0, count * tensor.Type.BlockSize);
            try
            {
                encode(first, count, chunk);
            }
            catch (OverflowException error)
            {
                throw new CheckpointException($"The tensor {CheckpointException.Quote(tensor.Name)} cannot be written as {tensor.Type}: a scale of {error.Message}. Write it as F32.", error);
            }

            Write(place, chunk, first * tensor.Type.BlockSize);
        }
    }

    private void WritePlain(Place place, byte* address)
    {
        long length = place.Tensor.ByteLength;
        for (long done = 0; done < length; done += ChunkLength)
            Write(place, new ReadOnlySpan<byte>(address + done, (int)Math.Min(ChunkLength, length - done)), done);
    }

    private void Write(Place place, ReadOnlySpan<byte> bytes, long offset)
    {
        _file.Write(bytes, place.Tensor.Offset + offset);
        place.AddWritten(bytes.Length);
    }

    /// <summary>A tensor, where it goes, and how much of it is there.</summary>
    private sealed class Place(GgufTensor tensor)
    {
        private long _written;

        internal GgufTensor Tensor => tensor;

        internal long Written => Interlocked.Read(ref _written);

        internal void AddWritten(long bytes) => Interlocked.Add(ref _written, bytes);
    }
}
