using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>
/// Scales that are quantized themselves: their distances from their mean in int8, with a float32 scale for each block of
/// 256 (double quantization, section 3 of Dettmers et al. 2023, with integers of even spacing). A scale of 4 bytes takes
/// little more than one.
/// </summary>
internal sealed class DoubleQuantizedScale : IDisposable
{
    private const long Block = 256;

    private readonly long[] _shape;
    private readonly ScalarType _dtype;
    private readonly QArray _distances;
    private readonly Tensor _mean;

    internal DoubleQuantizedScale(Tensor scale)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        (_shape, _dtype) = (scale.shape, scale.dtype);
        var flat = scale.to(ScalarType.Float32).flatten();
        _mean = flat.mean().DetachFromDisposeScope();
        var filled = nn.functional.pad(flat - _mean, [0, (Block - (flat.NumberOfElements % Block)) % Block]);
        _distances = Quantizer.Quantize(filled.reshape(-1, Block), new HowToQuantize { QType = QType.Int8, ChannelwiseAxes = [0] }).DetachFromDisposeScope();
    }

    /// <summary>The bytes that it takes.</summary>
    internal long ByteSize => _distances.ByteSize + _mean.ElementSize;

    /// <summary>The scales, a new tensor that belongs to no dispose scope.</summary>
    internal Tensor Restore()
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        long count = _shape.Aggregate(1L, (a, b) => a * b);
        // A scale near 0 must not change its sign.
        var flat = (_distances.Dequantize().flatten().narrow(0, 0, count) + _mean).clamp_min(0);
        return flat.reshape(_shape).to(_dtype, copy: true).DetachFromDisposeScope();
    }

    public void Dispose()
    {
        _distances.Dispose();
        _mean.Dispose();
    }
}
