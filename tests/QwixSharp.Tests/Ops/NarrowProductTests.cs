using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops;

/// <summary>Products of bfloat16 and float16 operands on the kernels.</summary>
public class NarrowProductTests
{
    private static readonly DotDimensionNumbers Linear = new([1], [1]);

    [Theory]
    [InlineData(ScalarType.BFloat16, "int8", null)]
    [InlineData(ScalarType.BFloat16, "int4", 32)]
    [InlineData(ScalarType.Float16, "int8", null)]
    [InlineData(ScalarType.Float16, "nf4", 32)]
    public void AWeightOnlyProductIsThatOfFloat32Rounded(ScalarType dtype, string qtype, int? tile)
    {
        using var scope = NewDisposeScope();
        var generator = new Generator(3);
        Tensor x = randn(5, 96, generator: generator).to(dtype), w = randn(40, 96, generator: generator).to(dtype);
        var weight = Quantize(w, qtype, tile);
        var exact = x.to(ScalarType.Float64).matmul(Codes(weight).to(ScalarType.Float64).mul(Scales(weight)).t());

        var actual = Qwix.DotGeneral(x, weight, Linear);

        Assert.Equal(dtype, actual.dtype);
        var step = dtype == ScalarType.BFloat16 ? Math.ScaleB(1, -8) : Math.ScaleB(1, -11);
        Assert.True((actual.to(ScalarType.Float64) - exact).abs().le(exact.abs() * step + 1e-4).all().item<bool>());
    }

    [Theory]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Float16)]
    public void AProductOfCodesEqualsTheGeneralWayBitForBit(ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        var generator = new Generator(4);
        Tensor x = randn(7, 300, generator: generator).to(dtype), w = randn(50, 300, generator: generator).to(dtype);
        QArray left = Quantize(x, "int8", null), right = Quantize(w, "int8", null);
        var sums = left.GetQValue().to(ScalarType.Float64).matmul(right.GetQValue().to(ScalarType.Float64).t());
        var step = dtype == ScalarType.BFloat16 ? dtype : ScalarType.Float32;
        var expected = sums.to(step).mul(left.Scale.to(step)).mul(right.Scale.t().to(step)).to(dtype);

        var actual = Qwix.DotGeneral(left, right, Linear);

        Assert.Equal(dtype, actual.dtype);
        Assert.True(actual.equal(expected).all().item<bool>());
    }

    private static QArray Quantize(Tensor x, string qtype, int? tile) =>
        Qwix.Quantize(x, qtype, [0], tile is { } size ? new Dictionary<int, TileSize> { [1] = size } : null);

    private static Tensor Codes(QArray array) => Codec.Decode(array.GetQValue(), array.QType, ScalarType.Float32);

    private static Tensor Scales(QArray array) => array.Scale.to(ScalarType.Float64).repeat_interleave(array.Shape[1] / array.ScaleShape[1], dim: 1);
}
