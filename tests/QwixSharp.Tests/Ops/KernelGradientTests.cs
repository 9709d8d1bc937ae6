using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops;

/// <summary>The products of a backward pass on the kernels, against the same steps with the general product.</summary>
public class KernelGradientTests
{
    private static readonly DotDimensionNumbers Linear = new([1], [1]);

    [Theory]
    [InlineData(1, 1, 1, "int8")]
    [InlineData(16, 32, 48, "int8")]
    [InlineData(7, 37, 19, "int8")]
    [InlineData(70, 100, 72, "int8")]
    [InlineData(33, 40, 56, "int4")]
    [InlineData(5, 40, 64, "int4")]
    [InlineData(9, 21, 33, "int2")]
    public void GradientsAreThoseOfTheGeneralProduct(int batch, int rows, int depth, string type)
    {
        using var scope = NewDisposeScope();
        var qtype = QType.Parse(type);
        Tensor gradient = ProductChecks.Random(1, batch, rows), x = ProductChecks.Random(2, batch, depth), w = ProductChecks.Random(3, rows, depth);
        using var lhs = Qwix.Quantize(x, "int8", [0]);
        using var packed = PackedForm.TryQuantize(w, DotGeneralOp.HowToQuantize(Linear, 2, 2, forLhs: false, qtype))!;
        using var plain = Quantizer.Quantize(w, DotGeneralOp.HowToQuantize(Linear, 2, 2, forLhs: false, qtype));
        var how = new HowToQuantize { QType = QType.Int8, ChannelwiseAxes = [0] };

        using (var scaled = Quantizer.Quantize(gradient * plain.Scale.t(), how))
        {
            var expected = Qwix.DotGeneral(scaled, plain.GetQValue(), new([1], [0]));
            ProductChecks.AssertEqual(expected, KernelGradients.TryLhs(gradient, packed, how)!);
            ProductChecks.AssertEqual(expected, KernelGradients.TryLhs(gradient, plain, how)!);
            ProductChecks.AssertEqual(expected, KernelGradients.TryLhs(gradient.t().contiguous().t(), plain, how)!);
        }

        how = how with { ChannelwiseAxes = [1] };
        using (var scaled = Quantizer.Quantize(gradient * lhs.Scale, how))
            ProductChecks.AssertEqual(Qwix.DotGeneral(scaled, lhs.GetQValue(), new([0], [0])), KernelGradients.TryRhs(gradient, lhs, how)!);
    }

    [Theory]
    [InlineData(64, 20, 24, 16)]
    [InlineData(24, 7, 9, 8)]
    [InlineData(6, 5, 4, 3)]
    [InlineData(512, 33, 40, 256)]
    public void TilesOfTheBatchHaveScalesOfTheirOwn(int batch, int rows, int depth, int tile)
    {
        using var scope = NewDisposeScope();
        Tensor gradient = ProductChecks.Random(1, batch, rows), x = ProductChecks.Random(2, batch, depth);
        using var lhs = Qwix.Quantize(x, "int8", [0]);
        var how = new HowToQuantize { QType = QType.Int8, ChannelwiseAxes = [1], TiledAxes = new Dictionary<int, TileSize> { [0] = tile } };
        using var scaled = Quantizer.Quantize(gradient * lhs.Scale, how);
        var expected = scaled.Dequantize().t().matmul(lhs.GetQValue().to(ScalarType.Float32));

        var result = KernelGradients.TryRhs(gradient, lhs, how)!;

        Assert.True(result.allclose(expected, rtol: 1e-5, atol: 1e-5 * expected.abs().max().item<float>()));
        Assert.Null(KernelGradients.TryRhs(gradient.reshape(2, batch / 2, rows), lhs, how with { ChannelwiseAxes = [2], TiledAxes = new Dictionary<int, TileSize> { [1] = 1 } }));
    }

    [Theory]
    [InlineData(1, 3, 5)]
    [InlineData(70, 33, 40)]
    public void OneScaleForAllIsServed(int batch, int rows, int depth)
    {
        using var scope = NewDisposeScope();
        Tensor gradient = ProductChecks.Random(1, batch, rows), x = ProductChecks.Random(2, batch, depth), w = ProductChecks.Random(3, rows, depth);
        using var lhs = Qwix.Quantize(x, "int8", []);
        using var rhs = Qwix.Quantize(w, "int8", []);
        var how = new HowToQuantize { QType = QType.Int8 };

        using var forLhs = Quantizer.Quantize(gradient * rhs.Scale, how);
        ProductChecks.AssertEqual(Qwix.DotGeneral(forLhs, rhs.GetQValue(), new([1], [0])), KernelGradients.TryLhs(gradient, rhs, how)!);
        using var forRhs = Quantizer.Quantize(gradient * lhs.Scale, how);
        ProductChecks.AssertEqual(Qwix.DotGeneral(forRhs, lhs.GetQValue(), new([0], [0])), KernelGradients.TryRhs(gradient, lhs, how)!);
    }

    [Theory]
    [InlineData(0, 0, "int8", 3, 5, 7)]
    [InlineData(0, 1, "int8", 3, 5, 64)]
    [InlineData(1, 0, "int8", 20, 33, 9)]
    [InlineData(1, 1, "int4", 4, 16, 1)]
    public void AGradientOfAConvolutionIsRoundedAsTheGeneralWayDoes(int scaledAxis, int channelwiseAxis, string type, int batch, int features, int pixels)
    {
        using var scope = NewDisposeScope();
        var gradient = ProductChecks.Random(1, batch, features, pixels, 1);
        long[] factorShape = [1, 1, 1, 1];
        factorShape[scaledAxis] = gradient.shape[scaledAxis];
        var factors = ProductChecks.Random(2, factorShape).abs();
        var how = new HowToQuantize { QType = QType.Parse(type), ChannelwiseAxes = [channelwiseAxis] };

        using var quantized = Quantizer.Quantize(gradient * factors, how);
        ProductChecks.AssertEqual(quantized.Dequantize(), KernelGradients.TryRound(gradient, factors, how)!);
        using var alone = Quantizer.Quantize(gradient, how);
        ProductChecks.AssertEqual(alone.Dequantize(), KernelGradients.TryRound(gradient, ones(1, 1, 1, 1), how)!);

        Assert.Null(KernelGradients.TryRound(gradient, factors, how with { ChannelwiseAxes = [] }));
        Assert.Null(KernelGradients.TryRound(gradient, ones(1, 1, pixels, 1).expand(1, 1, pixels, 2), how));
        gradient[0, 0, 0, 0] = float.NaN;
        Assert.True(KernelGradients.TryRound(gradient, factors, how)![0, 0].isnan().all().item<bool>());
    }

    [Fact]
    public void LeadingAxesAreRows()
    {
        using var scope = NewDisposeScope();
        Tensor gradient = ProductChecks.Random(1, 3, 4, 20), x = ProductChecks.Random(2, 3, 4, 24), w = ProductChecks.Random(3, 20, 24);
        using var lhs = Qwix.Quantize(x, "int8", [0, 1]);
        using var flatLhs = Qwix.Quantize(x.reshape(12, 24), "int8", [0]);
        using var rhs = Qwix.Quantize(w, "int8", [0]);
        var byRow = new HowToQuantize { QType = QType.Int8, ChannelwiseAxes = [0] };
        var byColumn = byRow with { ChannelwiseAxes = [1] };

        ProductChecks.AssertEqual(
            KernelGradients.TryLhs(gradient.reshape(12, 20), rhs, byRow)!.reshape(3, 4, 24),
            KernelGradients.TryLhs(gradient, rhs, byRow with { ChannelwiseAxes = [0, 1] })!);
        ProductChecks.AssertEqual(
            KernelGradients.TryRhs(gradient.reshape(12, 20), flatLhs, byColumn)!,
            KernelGradients.TryRhs(gradient, lhs, byRow with { ChannelwiseAxes = [2] })!);
    }

    [Fact]
    public void WhatTheKernelsCannotServeIsLeftToTheGeneralWay()
    {
        using var scope = NewDisposeScope();
        Tensor gradient = ProductChecks.Random(1, 8, 32), x = ProductChecks.Random(2, 8, 64), w = ProductChecks.Random(3, 32, 64);
        var byRow = new HowToQuantize { QType = QType.Int8, ChannelwiseAxes = [0] };
        var byColumn = byRow with { ChannelwiseAxes = [1] };
        using QArray lhs = Qwix.Quantize(x, "int8", [0]), rhs = Qwix.Quantize(w, "int8", [0]);
        using var tiled = Quantizer.Quantize(w, byRow with { TiledAxes = new Dictionary<int, TileSize> { [1] = 32 } });
        using var tiledLhs = Quantizer.Quantize(x, byRow with { TiledAxes = new Dictionary<int, TileSize> { [1] = 32 } });
        using var asymmetric = Quantizer.Quantize(x, byRow with { Calibration = CalibrationMethod.MinMax() });
        using var fp8 = Qwix.Quantize(w, "float8_e4m3fn", [0]);

        Assert.NotNull(KernelGradients.TryLhs(gradient, rhs, byRow));
        Assert.NotNull(KernelGradients.TryRhs(gradient, lhs, byColumn));
        Assert.Null(KernelGradients.TryLhs(gradient, tiled, byRow));
        Assert.Null(KernelGradients.TryLhs(gradient, fp8, byRow));
        Assert.Null(KernelGradients.TryLhs(gradient, rhs, byColumn));
        Assert.Null(KernelGradients.TryLhs(gradient.to(ScalarType.Float64), rhs, byRow));
        Assert.Null(KernelGradients.TryLhs(gradient, rhs, byRow with { Noise = shape => zeros(shape) }));
        Assert.Null(KernelGradients.TryLhs(gradient, rhs, byRow with { Calibration = CalibrationMethod.AbsMax(0.9) }));
        Assert.Null(KernelGradients.TryLhs(zeros(0, 32), rhs, byRow));
        Assert.Null(KernelGradients.TryRhs(gradient, tiledLhs, byColumn));
        Assert.Null(KernelGradients.TryRhs(gradient, asymmetric, byColumn));
        Assert.Null(KernelGradients.TryRhs(gradient, lhs, byRow));
    }

    [Theory]
    [InlineData("int8", 0, false)]
    [InlineData("int8", 0, true)]
    [InlineData("int4", 0, false)]
    [InlineData("int4", 0, true)]
    [InlineData("int3", 12, false)]
    [InlineData("int8", 12, true)]
    public void AWeightQuantizedIntoItsPackedFormIsTheArrayThatTheGeneralWayGives(string type, int tile, bool keepsCodes)
    {
        using var scope = NewDisposeScope();
        var w = ProductChecks.Random(1, 37, 96);
        var x = ProductChecks.Random(2, 5, 96);
        var how = DotGeneralOp.HowToQuantize(Linear, 2, 2, forLhs: false, QType.Parse(type), tile == 0 ? null : (Tiling)tile);
        using var plain = Quantizer.Quantize(w, how);
        using var packed = PackedForm.TryQuantize(w, how, keepsCodes)!;
        using var codes = Qwix.Quantize(x, "int8", [0]);

        ProductChecks.AssertEqual(Qwix.DotGeneral(codes, plain, Linear), Qwix.DotGeneral(codes, packed, Linear));
        ProductChecks.AssertEqual(plain.Codes, packed.Codes);
        ProductChecks.AssertEqual(plain.Scale, packed.Scale);
        ProductChecks.AssertEqual(plain.Dequantize(), packed.Dequantize());
        Assert.Equal(plain.ToString(), packed.ToString());
    }

    [Fact]
    public void NothingLeaks()
    {
        using var gradient = ProductChecks.Random(1, 8, 32);
        using var x = ProductChecks.Random(2, 8, 64);
        using var w = ProductChecks.Random(3, 32, 64);
        var how = new HowToQuantize { QType = QType.Int8, ChannelwiseAxes = [0] };
        using var lhs = Qwix.Quantize(x, "int8", [0]);
        ProductChecks.AssertLeaksNothing(() =>
        {
            using var rhs = PackedForm.TryQuantize(w, how)!;
            return KernelGradients.TryLhs(gradient, rhs, how)!;
        });
        ProductChecks.AssertLeaksNothing(() => KernelGradients.TryRhs(gradient, lhs, how with { ChannelwiseAxes = [1] })!);
    }
}
