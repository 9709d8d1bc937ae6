using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops;

public class DotGeneralTests
{
    private static readonly DotDimensionNumbers Linear = new([1], [1]);

    [Theory]
    [InlineData(5000)]
    [InlineData(1024)]
    [InlineData(1025)]
    [InlineData(130_000)]
    public void SumsOfTheLargestCodesAreExact(long depth)
    {
        using var scope = NewDisposeScope();
        Tensor x = full([2, depth], -128), w = full([3, depth], -128);
        x[1] = 127;
        w[1, 0] = 127;
        w[2] = ProductChecks.LargeCodes(QType.Int8, 1, depth);

        var actual = Qwix.DotGeneral(ProductChecks.Codes(QType.Int8, x), ProductChecks.Codes(QType.Int8, w), Linear);

        ProductChecks.AssertEqual(x.to(ScalarType.Float64).matmul(w.to(ScalarType.Float64).t()), actual);
    }

    [Theory]
    [InlineData("int8", "int8")]
    [InlineData("int8", "int4")]
    [InlineData("int3", "int1")]
    [InlineData("int16", "int8")]
    [InlineData("int16", "int16")]
    public void ProductsOfIntegersAreExactBeforeTheyAreScaled(string left, string right)
    {
        using var scope = NewDisposeScope();
        QType leftType = QType.Parse(left), rightType = QType.Parse(right);
        Tensor x = ProductChecks.LargeCodes(leftType, 1, 4, 30_000), w = ProductChecks.LargeCodes(rightType, 2, 5, 30_000);
        var expected = x.to(ScalarType.Float64).matmul(w.to(ScalarType.Float64).t());

        var actual = Qwix.DotGeneral(ProductChecks.Codes(leftType, x), ProductChecks.Codes(rightType, w), Linear);

        ProductChecks.AssertEqual(expected, actual);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ZeroPointsAreTakenOffExactly(bool onLhs)
    {
        using var scope = NewDisposeScope();
        var asymmetric = ProductChecks.Codes(QType.Int8, full([2, 4000], 127), full([1, 1], -128, dtype: ScalarType.Int8));
        var codes = full([3, 4000], -128);
        codes.select(1, 7).fill_(-127);
        var symmetric = ProductChecks.Codes(QType.Int8, codes);
        var actual = onLhs ? Qwix.DotGeneral(asymmetric, symmetric, Linear) : Qwix.DotGeneral(symmetric, asymmetric, Linear);
        ProductChecks.AssertEqual(full(actual.shape, -255.0 * ((128 * 3999) + 127), dtype: ScalarType.Float64), actual);
    }

    [Fact]
    public void IntegerTensorsAreCodes()
    {
        using var scope = NewDisposeScope();
        Tensor x = tensor(new sbyte[] { -128, 127, 3 }).reshape(1, 3), w = tensor(new byte[] { 255, 1, 2 }).reshape(1, 3);
        ProductChecks.AssertEqual(tensor(new[] { (-128 * 255) + 127 + 6 }).reshape(1, 1), Qwix.DotGeneral(x, w, Linear));
        var half = tensor(new[] { 0.5f, 1, 2 }).reshape(1, 3);
        ProductChecks.AssertEqual(tensor(new[] { -64f + 127 + 6 }).reshape(1, 1), Qwix.DotGeneral(x, half, Linear));
    }

    [Theory]
    [InlineData(ScalarType.BFloat16, ScalarType.BFloat16, ScalarType.BFloat16)]
    [InlineData(ScalarType.Float16, ScalarType.Float16, ScalarType.Float16)]
    [InlineData(ScalarType.BFloat16, ScalarType.Float32, ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16, ScalarType.Float16, ScalarType.Float32)]
    [InlineData(ScalarType.Float32, ScalarType.Float64, ScalarType.Float64)]
    public void TheResultHasThePromotedDtype(ScalarType left, ScalarType right, ScalarType expected)
    {
        using var scope = NewDisposeScope();
        Tensor x = ProductChecks.Random(1, 4, 256).to(left), w = ProductChecks.Random(2, 5, 256).to(right);
        QArray codesOfX = Qwix.Quantize(x, "int8", [0]), codesOfW = Qwix.Quantize(w, "int8", [0]);
        foreach (var (lhs, rhs) in new (Operand, Operand)[] { (x, w), (x, codesOfW), (codesOfX, codesOfW) })
        {
            Assert.Equal(expected, Qwix.DotGeneral(lhs, rhs, Linear).dtype);
            var preferred = Qwix.DotGeneral(lhs, rhs, Linear, ScalarType.Float32);
            Assert.Equal(ScalarType.Float32, preferred.dtype);
            var exact = lhs.Float64().matmul(rhs.Float64().t());
            ProductChecks.AssertClose(exact, exact.abs(), preferred, 1e-2);
        }
    }

    [Fact]
    public void Float16SumsOfIntegersDoNotOverflow()
    {
        using var scope = NewDisposeScope();
        var x = Qwix.Quantize(full([1, 512], 1.5f, dtype: ScalarType.Float16), "int8");
        var actual = Qwix.DotGeneral(x, x, Linear);
        Assert.Equal(1152f, actual.to(ScalarType.Float32).item<float>(), 10f);
    }

    [Fact]
    public void GradientsFlowThroughFloatingOperands()
    {
        using var scope = NewDisposeScope();
        foreach (string qtype in new[] { "int4", "nf4", "int8" })
        {
            var x = ProductChecks.Random(1, 3, 64).requires_grad_(true);
            var w = Qwix.Quantize(ProductChecks.Random(2, 5, 64), qtype, [0], new Dictionary<int, TileSize> { [1] = 32 });
            var weights = ProductChecks.Random(3, 3, 5);
            Qwix.DotGeneral(x, w, Linear).mul(weights).sum().backward();
            ProductChecks.AssertEqual(weights.matmul(w.Dequantize()), x.grad!);
        }
    }

    [Fact]
    public void TwoZeroPointsAreRefusedOnCodesOnly()
    {
        using var scope = NewDisposeScope();
        QArray Asymmetric(int seed, TileSize tile) => Qwix.Quantize(ProductChecks.Random(seed, 4, 256), "int8", [0], new Dictionary<int, TileSize> { [1] = tile }, "minmax");
        var error = Assert.Throws<ArgumentException>(() => Qwix.DotGeneral(Asymmetric(1, 128), Asymmetric(2, 128), Linear));
        Assert.Contains("zero point", error.Message);
        Operand lhs = Asymmetric(1, 32), rhs = Asymmetric(2, 32);
        var expected = lhs.Float64().matmul(rhs.Float64().t());
        ProductChecks.AssertClose(expected, expected.abs(), Qwix.DotGeneral(lhs, rhs, Linear), 1e-5);
    }

    [Fact]
    public void DifferentTilesOnOneContractionAreRefused()
    {
        using var scope = NewDisposeScope();
        QArray Tiled(TileSize tile) => Qwix.Quantize(ProductChecks.Random(1, 4, 512), "int8", [0], new Dictionary<int, TileSize> { [1] = tile });
        var error = Assert.Throws<ArgumentException>(() => Qwix.DotGeneral(Tiled(128), Tiled(256), Linear));
        Assert.Contains("128", error.Message);
        Assert.Contains("256", error.Message);
    }

    /// <summary>Tiles on different axes, on free axes, and a scale that one inner axis shares: all become consecutive tiles.</summary>
    [Fact]
    public void TilesOnAnyAxisAreRight()
    {
        using var scope = NewDisposeScope();
        var numbers = new DotDimensionNumbers([0, 2], [2, 0]);
        Tensor x = ProductChecks.Random(1, 256, 6, 128), w = ProductChecks.Random(2, 128, 4, 256);
        Operand lhs = Qwix.Quantize(x, "int8", null, new Dictionary<int, TileSize> { [0] = 128, [1] = 3 });
        Operand rhs = Qwix.Quantize(w, "int8", null, new Dictionary<int, TileSize> { [1] = 2, [2] = 128 });
        Tensor exact = einsum("kim,mjk->ij", lhs.Float64(), rhs.Float64()), magnitudes = einsum("kim,mjk->ij", lhs.Float64().abs(), rhs.Float64().abs());
        ProductChecks.AssertClose(exact, magnitudes, Qwix.DotGeneral(lhs, rhs, numbers));
        Operand inner = Qwix.Quantize(w, "int8", null, new Dictionary<int, TileSize> { [0] = 1.0, [2] = 1.0 });
        exact = einsum("kim,mjk->ij", lhs.Float64(), inner.Float64());
        ProductChecks.AssertClose(exact, magnitudes, Qwix.DotGeneral(lhs, inner, numbers));
    }

    [Fact]
    public void BadArgumentsAreRefused()
    {
        using var scope = NewDisposeScope();
        Tensor x = zeros(2, 3), w = zeros(4, 3);
        Assert.Contains("axis 2", Assert.Throws<ArgumentException>(() => Qwix.DotGeneral(x, w, new([2], [1]))).Message);
        Assert.Contains("named twice", Assert.Throws<ArgumentException>(() => Qwix.DotGeneral(x, w, new([1], [1], [1], [0]))).Message);
        Assert.Contains("differ in length", Assert.Throws<ArgumentException>(() => Qwix.DotGeneral(x, w, new([0], [0]))).Message);
        Assert.Contains("as many", Assert.Throws<ArgumentException>(() => Qwix.DotGeneral(x, w, new([1], [0, 1]))).Message);
        Assert.Contains("Int64", Assert.Throws<ArgumentException>(() => Qwix.DotGeneral(x, w.to(ScalarType.Int64), Linear)).Message);
        Assert.Contains("missing", Assert.Throws<ArgumentException>(() => Qwix.DotGeneral(default, w, Linear)).Message);
        Assert.Throws<ArgumentNullException>(() => Qwix.DotGeneral(x, w, null!));
        Assert.Throws<ArgumentNullException>(() => Qwix.DotGeneral((Tensor)null!, w, Linear));
    }

    [Fact]
    public void AnEmptyContractionGivesZeros()
    {
        using var scope = NewDisposeScope();
        var x = ProductChecks.Codes(QType.Int8, zeros(2, 0));
        var nothing = zeros(2, 3, dtype: ScalarType.Float64);
        ProductChecks.AssertEqual(nothing, Qwix.DotGeneral(x, ProductChecks.Codes(QType.Int8, zeros(3, 0)), Linear));
        ProductChecks.AssertEqual(nothing, Qwix.DotGeneral(x, zeros(3, 0), Linear));
    }

    /// <summary>An abstract model runs on the meta device: shapes and dtypes without values.</summary>
    [Fact]
    public void TheMetaDeviceGivesShapes()
    {
        using var scope = NewDisposeScope();
        var weight = Qwix.Quantize(ProductChecks.Random(1, 5, 256), "int4", [0], new Dictionary<int, TileSize> { [1] = 128 });
        QArray onMeta = weight.To(META), codes = Qwix.Quantize(ProductChecks.Random(1, 4, 256), "int8", [0]).To(META);
        foreach (Operand lhs in new Operand[] { zeros(4, 256, device: META), codes })
        {
            var result = Qwix.DotGeneral(lhs, onMeta, Linear);
            Assert.Equal([4, 5], result.shape);
            Assert.Equal(TorchSharp.DeviceType.META, result.device_type);
        }
    }

    [Fact]
    public void NothingLeaks()
    {
        using var x = ProductChecks.Random(1, 4, 256);
        using var weight = ProductChecks.Random(2, 5, 256);
        using var codesOfX = Qwix.Quantize(x, "int8", [0], calibration: "minmax");
        foreach (var how in new[] { ("int8", 1.0), ("int8", 0.5), ("int4", 0.125), ("nf4", 0.125), ("float8_e4m3fn", 1.0) })
        {
            using var codes = Qwix.Quantize(weight, how.Item1, [0], new Dictionary<int, TileSize> { [1] = how.Item2 });
            ProductChecks.AssertLeaksNothing(() => Qwix.DotGeneral(x, codes, Linear));
            ProductChecks.AssertLeaksNothing(() => Qwix.DotGeneral(codesOfX, codes, Linear));
            ProductChecks.AssertLeaksNothing(() => Qwix.DotGeneral(codesOfX, weight, Linear));
        }
    }

    [Fact]
    public void SeveralThreadsMayShareOperands()
    {
        using var scope = NewDisposeScope();
        var x = Qwix.Quantize(ProductChecks.Random(1, 4, 2048), "int8", [0]);
        var w = Qwix.Quantize(ProductChecks.Random(2, 5, 2048), "int4", [0]);
        var expected = Qwix.DotGeneral(x, w, Linear);
        Parallel.For(0, 8, _ =>
        {
            using var inner = NewDisposeScope();
            ProductChecks.AssertEqual(expected, Qwix.DotGeneral(x, w, Linear));
        });
    }
}
