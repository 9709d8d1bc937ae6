using QwixSharp.Checkpoints.Safetensors;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints;

/// <summary>A tensor as a checkpoint stores it, without its values.</summary>
public sealed class TensorEntry
{
    /// <summary>The most axes that a tensor can have.</summary>
    internal const int MaxRank = 64;

    /// <summary>Describes a tensor that will be written.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="dtype">How its elements are stored.</param>
    /// <param name="shape">Its shape in elements, also where several share a byte.</param>
    /// <exception cref="ArgumentException">The shape is negative, has more than 64 axes, or more bytes than can be counted; or the elements end within a byte.</exception>
    public TensorEntry(string name, CheckpointDtype dtype, ReadOnlySpan<long> shape)
        : this(name, dtype, SafetensorsDtypes.NameOf(dtype), shape, CountBytes(dtype, shape))
    {
    }

    /// <summary>A tensor whose format counts its bytes itself.</summary>
    internal TensorEntry(string name, CheckpointDtype dtype, string typeName, ReadOnlySpan<long> shape, long byteLength)
    {
        ArgumentNullException.ThrowIfNull(name);
        Name = name;
        Dtype = dtype;
        TypeName = typeName;
        Shape = shape.ToArray();
        ByteLength = byteLength;
    }

    /// <summary>The name.</summary>
    public string Name { get; }

    /// <summary>How the elements are stored.</summary>
    public CheckpointDtype Dtype { get; }

    /// <summary>The dtype as the format spells it, such as <c>BF16</c> or <c>Q4_0</c>.</summary>
    public string TypeName { get; }

    /// <summary>The shape in elements.</summary>
    public IReadOnlyList<long> Shape { get; }

    /// <summary>The bytes that the tensor takes.</summary>
    public long ByteLength { get; }

    /// <summary>Name, dtype and shape.</summary>
    /// <returns>One line.</returns>
    public override string ToString() => $"{CheckpointException.Quote(Name)} {TypeName} [{string.Join(", ", Shape)}]";

    /// <summary>
    /// The shape of the TorchSharp tensor that holds the same bits: the shape itself, or where several elements share a
    /// byte, bytes along the last axis.
    /// </summary>
    /// <exception cref="CheckpointException">Rows do not end at whole bytes.</exception>
    internal long[] CarrierShape()
    {
        long[] shape = [.. Shape];
        int bits = Dtype.Bits();
        if (bits >= 8)
            return shape;
        if (shape.Length == 0 || shape[^1] * bits % 8 != 0)
            throw new CheckpointException($"Rows of the tensor {this} end within a byte, so that no tensor can hold it. Read its bytes.");
        shape[^1] = shape[^1] * bits / 8;
        return shape;
    }

    /// <summary>A tensor's description as it would be stored.</summary>
    internal static TensorEntry Of(string name, Tensor tensor) => new(name, CheckpointDtypes.Of(tensor.dtype), tensor.shape);

    private static long CountBytes(CheckpointDtype dtype, ReadOnlySpan<long> shape)
    {
        try
        {
            return SafetensorsDtypes.CountBytes(dtype, shape);
        }
        catch (FormatException error)
        {
            throw new ArgumentException(error.Message, nameof(shape), error);
        }
    }
}
