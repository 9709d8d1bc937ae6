using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints;

/// <summary>How a tensor is quantized, where a <see cref="QArray"/> can hold it as it is.</summary>
/// <param name="QType">The type of the codes.</param>
/// <param name="ScaleShape">The shape of the scales: each axis has the tensor's length, a number of tiles, or 1.</param>
/// <param name="HasZeroPoint">Whether there are zero points.</param>
public sealed record TensorQuantization(QType QType, IReadOnlyList<long> ScaleShape, bool HasZeroPoint);

/// <summary>
/// A tensor that a checkpoint stands for, whatever the layout in which it is stored: plain, or quantized and then usually in
/// several stored tensors. Values are read when they are asked for.
/// </summary>
public abstract class LogicalTensor
{
    /// <summary>Describes a tensor.</summary>
    /// <param name="name">Its name, such as <c>layers.0.proj.weight</c>.</param>
    /// <param name="shape">Its shape in values, as TorchSharp's modules have it.</param>
    /// <param name="stored">The stored tensors it is made of.</param>
    protected LogicalTensor(string name, ReadOnlySpan<long> shape, params IReadOnlyList<TensorEntry> stored)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(stored);
        Name = name;
        Shape = shape.ToArray();
        Stored = stored;
    }

    /// <summary>The name.</summary>
    public string Name { get; }

    /// <summary>The shape in values.</summary>
    public IReadOnlyList<long> Shape { get; }

    /// <summary>The stored tensors it is made of.</summary>
    public IReadOnlyList<TensorEntry> Stored { get; }

    /// <summary>How many values it has.</summary>
    public long Count => Shape.Aggregate(1L, (a, b) => a * b);

    /// <summary>The bytes that its stored tensors take.</summary>
    public long ByteLength => Stored.Sum(s => s.ByteLength);

    /// <summary>How it is stored, in a few words for people, such as <c>BF16</c> or <c>gptq int4, groups of 128</c>.</summary>
    public abstract string Description { get; }

    /// <summary>Whether it is stored quantized.</summary>
    public abstract bool IsQuantized { get; }

    /// <summary>
    /// How it is quantized; null where it is plain, or quantized in a way that a <see cref="QArray"/> cannot hold, so that
    /// only <see cref="ReadFloat"/> reads it.
    /// </summary>
    public abstract TensorQuantization? Quantization { get; }

    /// <summary>The dtype that <see cref="ReadFloat"/> gives unless told: that of a plain tensor, or of the scales.</summary>
    public abstract ScalarType Dtype { get; }

    /// <summary>Reads the quantized array.</summary>
    /// <returns>A QArray on the CPU that the caller owns.</returns>
    /// <exception cref="InvalidOperationException"><see cref="Quantization"/> is null.</exception>
    /// <exception cref="CheckpointException">The stored tensors contradict each other, or cannot be read.</exception>
    public abstract QArray ReadQuantized();

    /// <summary>Reads the values; what is quantized is dequantized.</summary>
    /// <param name="dtype">A floating-point dtype; <see cref="Dtype"/> unless told. Plain integers are given as they are.</param>
    /// <returns>A tensor of <see cref="Shape"/> on the CPU that the caller owns.</returns>
    /// <exception cref="CheckpointException">The stored tensors contradict each other, or cannot be read.</exception>
    public abstract Tensor ReadFloat(ScalarType? dtype = null);

    /// <summary>Name, storage and shape.</summary>
    /// <returns>One line.</returns>
    public override string ToString() => $"{CheckpointException.Quote(Name)} {Description} [{string.Join(", ", Shape)}]";
}
