using QwixSharp.Checkpoints.Gguf;
using QwixSharp.Checkpoints.Quantization;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Conversion;

/// <summary>Writes a checkpoint as a GGUF file.</summary>
internal static class GgufConversion
{
    private const string FileType = "general.file_type";

    /// <summary>llama.cpp's numbers for files that are mostly of one type.</summary>
    private static readonly Dictionary<GgufTensorType, uint> FileTypes = new()
    {
        [GgufTensorType.F32] = 0,
        [GgufTensorType.F16] = 1,
        [GgufTensorType.Q4_0] = 2,
        [GgufTensorType.Q4_1] = 3,
        [GgufTensorType.Q8_0] = 7,
        [GgufTensorType.BF16] = 32,
    };

    internal static void Write(Checkpoint source, string target, GgufTensorType? type, IProgress<CheckpointProgress>? progress, CancellationToken cancellation)
    {
        ArgumentException.ThrowIfNullOrEmpty(target);
        PartialFolder.CheckFree(source, target);
        var types = source.LogicalTensors.ToDictionary(t => t.Name, t => TypeOf(source, t, type), StringComparer.Ordinal);
        using var writer = new GgufWriter(target, Metadata(source, type), source.LogicalTensors.Select(t => (t.Name, types[t.Name], t.Shape.ToArray())));
        Work.ForEach(source.LogicalTensors, tensor => Write(writer, source, tensor, types[tensor.Name]), progress, cancellation);
        writer.Complete();
    }

    private static IEnumerable<KeyValuePair<string, object>> Metadata(Checkpoint source, GgufTensorType? type) => source is not GgufCheckpoint gguf
        ? [new("general.name", Path.GetFileNameWithoutExtension(source.Path)), new("general.quantization_version", 2u)]
        : gguf.Values.Select(v => v.Key == FileType && type is not null ? new(v.Key, FileTypes[type]) : v);

    private static GgufTensorType TypeOf(Checkpoint source, LogicalTensor tensor, GgufTensorType? wanted)
    {
        bool isMatrix = tensor.Shape.Count >= 2 && is_floating_point(tensor.Dtype);
        if (wanted is not null && isMatrix && tensor.Shape[^1] % wanted.BlockLength == 0)
            return wanted;
        if (source is GgufCheckpoint gguf)
            return gguf.TypeOf(tensor.Name);
        if (tensor.Quantization is { } quantization)
            return GgufWriter.TypeOf(tensor.Shape, quantization) ?? GgufTensorType.F16;
        return tensor.Dtype switch
        {
            ScalarType.Float16 => GgufTensorType.F16,
            ScalarType.BFloat16 => GgufTensorType.BF16,
            ScalarType.Float32 or ScalarType.Float64 => GgufTensorType.F32,
            var other => throw new CheckpointException($"Tensor {tensor} of {CheckpointException.Quote(source.Path)} is of {other}, which is not written to GGUF files."),
        };
    }

    private static void Write(GgufWriter writer, Checkpoint source, LogicalTensor tensor, GgufTensorType type)
    {
        if (source is GgufCheckpoint gguf && gguf.TypeOf(tensor.Name) == type)
            Copy(writer, source, tensor.Stored[0]);
        else if (tensor.Quantization is { } quantization && GgufWriter.TypeOf(tensor.Shape, quantization) == type)
            writer.Write(tensor.Name, tensor.ReadQuantized());
        else
            writer.Write(tensor.Name, tensor.ReadFloat());
    }

    private static void Copy(GgufWriter writer, Checkpoint source, TensorEntry entry)
    {
        const int chunk = 1 << 20;
        var buffer = new byte[Math.Min(chunk, entry.ByteLength)];
        for (long offset = 0; offset < entry.ByteLength; offset += chunk)
        {
            var part = buffer.AsSpan(0, (int)Math.Min(chunk, entry.ByteLength - offset));
            source.ReadBytes(entry.Name, part, offset);
            writer.Write(entry.Name, part, offset);
        }
    }
}
