using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Layouts;

/// <summary>A tensor that is stored quantized; what a QArray can hold is dequantized through one.</summary>
internal abstract class QuantizedTensor(string name, ReadOnlySpan<long> shape, IReadOnlyList<TensorEntry> stored) : LogicalTensor(name, shape, stored)
{
    public sealed override bool IsQuantized => true;

    /// <remarks>The arithmetic is that of the wanted dtype: scales are converted before the product, not the product after.</remarks>
    public override Tensor ReadFloat(ScalarType? dtype = null)
    {
        using var array = ReadQuantized();
        if (dtype is not { } wanted || wanted == array.Dtype)
            return array.Dequantize();
        using var converted = array.To(wanted);
        return converted.Dequantize();
    }

    /// <summary>The error of asking for a QArray that there is none of.</summary>
    protected InvalidOperationException NoQArray(string reason) => new($"Tensor {this} cannot be a QArray: {reason}. Read it as floats.");
}
