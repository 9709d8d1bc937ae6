using QwixSharp.Checkpoints.Conversion;
using QwixSharp.Checkpoints.Gguf;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints;

/// <summary>
/// Writes checkpoints of any readable format and layout in another. What is quantized is taken over as it is where the target
/// can hold it, and dequantized where it cannot. Tensors are read one a thread.
/// </summary>
/// <remarks>
/// A target that ends in <c>.safetensors</c> is one file, any other path a folder: with shards, and with what stands beside the tensors
/// in the source's folder. It must not be there yet, and is there whole or not at all.
/// </remarks>
public static class CheckpointConverter
{
    /// <summary>Writes floating-point safetensors.</summary>
    /// <param name="source">The checkpoint.</param>
    /// <param name="target">A file or folder.</param>
    /// <param name="dtype">The dtype of all floating-point tensors; unless told each keeps its own, or that of its scales.</param>
    /// <param name="progress">Is told after each tensor.</param>
    /// <param name="cancellation">Stops it.</param>
    /// <exception cref="ArgumentException">The dtype is no floating-point one.</exception>
    /// <exception cref="CheckpointException">It cannot be read or written; nothing is left under the target's name.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static void Dequantize(Checkpoint source, string target, ScalarType? dtype = null, IProgress<CheckpointProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        if (dtype is { } wanted && !CheckpointDtypes.Of(wanted).IsQuantizable())
            throw new ArgumentException($"Values cannot be written as {wanted}. Choose a floating-point dtype of 16 bits or more.", nameof(dtype));
        SafetensorsConversion.Write(source, target, null, t => new FloatTarget(t, dtype), progress, cancellation);
    }

    /// <summary>Writes this project's own layout.</summary>
    /// <param name="source">The checkpoint; its rules go with it where it says them.</param>
    /// <param name="target">A file or folder.</param>
    /// <param name="progress">Is told after each tensor.</param>
    /// <param name="cancellation">Stops it.</param>
    /// <exception cref="CheckpointException">It cannot be read or written; nothing is left under the target's name.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static void ToQwix(Checkpoint source, string target, IProgress<CheckpointProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        SafetensorsConversion.Write(source, target, QwixTarget.Manifest(source), t => t.Quantization is null ? new FloatTarget(t, null) : new QwixTarget(t), progress, cancellation);
    }

    /// <summary>Writes the layout of compressed-tensors, which vLLM serves.</summary>
    /// <param name="source">A checkpoint with quantized weights.</param>
    /// <param name="folder">A folder.</param>
    /// <param name="progress">Is told after each tensor.</param>
    /// <param name="cancellation">Stops it.</param>
    /// <exception cref="CheckpointException">It has no weight that this layout can hold, or cannot be read or written; nothing is left under the folder's name.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static void ToCompressedTensors(Checkpoint source, string folder, IProgress<CheckpointProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        CompressedTensorsConversion.Write(source, folder, progress, cancellation);
    }

    /// <summary>
    /// Writes a GGUF file. One that was made from a GGUF file keeps its metadata, and so llama.cpp serves it; of other checkpoints
    /// it has the tensors alone, by their own names.
    /// </summary>
    /// <param name="source">The checkpoint.</param>
    /// <param name="target">A file.</param>
    /// <param name="type">
    /// The type to which all tensors with two axes or more are quantized, where its blocks divide their rows. Unless told, blocks and
    /// floating-point numbers stay as they are, int8 and int4 with tiles of multiples of 32 become Q8_0 and Q4_0, and all else F16.
    /// </param>
    /// <param name="progress">Is told after each tensor.</param>
    /// <param name="cancellation">Stops it.</param>
    /// <exception cref="ArgumentException">The type is one that is only read.</exception>
    /// <exception cref="CheckpointException">It cannot be read or written; nothing is left under the target's name.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static void ToGguf(Checkpoint source, string target, GgufTensorType? type = null, IProgress<CheckpointProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        if (type is { CanWrite: false })
            throw new ArgumentException($"{type} is only read. Choose Q8_0, Q4_0, Q4_1, F16, BF16 or F32.", nameof(type));
        GgufConversion.Write(source, target, type, progress, cancellation);
    }
}
