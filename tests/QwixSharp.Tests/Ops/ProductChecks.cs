using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops;

/// <summary>Values and comparisons for the tests of products.</summary>
internal static class ProductChecks
{
    /// <summary>Normal values that depend on the seed alone, whatever other tests draw.</summary>
    public static Tensor Random(int seed, params long[] shape)
    {
        using var generator = new Generator((ulong)seed);
        return randn(shape, generator: generator);
    }

    /// <summary>A QArray of given codes whose scale is 1, in float64 so that a product shows every bit of its sum.</summary>
    public static QArray Codes(QType qtype, Tensor codes, Tensor? zeroPoint = null) =>
        new(qtype, codes.shape, CodePacking.Pack(codes.to(Codec.CodeDtype(qtype)), qtype), ones([.. codes.shape.Select(_ => 1L)], ScalarType.Float64), zeroPoint);

    /// <summary>Codes of the largest magnitudes, mostly of one sign, so that their sums leave float32's integers behind.</summary>
    public static Tensor LargeCodes(QType qtype, int seed, params long[] shape)
    {
        using var generator = new Generator((ulong)seed);
        return randint(qtype.Min, qtype.Min + 1 + (-qtype.Min / 4), shape, dtype: ScalarType.Int64, generator: generator);
    }

    public static Tensor Float64(this Operand operand) => operand.Dequantize().to(ScalarType.Float64);

    /// <summary>Differences are at most a fraction of what the largest sum of magnitudes is, so that cancellation does not count.</summary>
    public static void AssertClose(Tensor expected, Tensor magnitudes, Tensor actual, double tolerance = 1e-6)
    {
        Assert.Equal(expected.shape, actual.shape);
        if (expected.NumberOfElements == 0)
            return;
        double difference = (expected.to(ScalarType.Float64) - actual.to(ScalarType.Float64)).abs().max().item<double>();
        double largest = magnitudes.to(ScalarType.Float64).max().item<double>();
        Assert.True(difference <= tolerance * largest, $"differs by {difference:g3} where sums of magnitudes reach {largest:g3}");
    }

    public static void AssertEqual(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.shape, actual.shape);
        Assert.Equal(expected.dtype, actual.dtype);
        Assert.True(expected.eq(actual).all().item<bool>(), $"expected\n{expected.str()}\nfound\n{actual.str()}");
    }

    /// <summary>An action leaves one live tensor, the one it returns.</summary>
    public static void AssertLeaksNothing(Func<Tensor> compute)
    {
        long Live() => DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        long before = Live();
        var result = compute();
        Assert.Equal(before + 1, Live());
        using (result)
            Assert.True(result.isfinite().all().item<bool>());
    }
}
