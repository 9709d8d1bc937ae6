using QwixSharp.Providers.Odml.Device;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers.Odml.Device;

/// <summary>Scaling of sums by factors in fixed point.</summary>
public sealed class FixedPointTests
{
    /// <summary>Factors over all powers of two that occur, the ends of one, and what rounds up to the next.</summary>
    private static readonly double[] Factors =
        [1, 0.5, 2, 0.75, 1.0 / 3, 0.9999999999, 1 - Math.ScaleB(1, -31), 1 - Math.ScaleB(1, -33), 7.3e-9, 1e-4, 0.0123, 3.7, 200.5, .. Enumerable.Range(0, 40).Select(i => Math.Pow(10, (i / 5.0) - 6.1))];

    private static readonly long[] Sums = [0, 1, -1, 2, -2, 3, -3, 127, -128, 255, 256, -256, 1000, -1001, 32767, -32768, 65535, 1_000_003, -999_999, 123_456_789, -123_456_788];

    [Fact]
    public void FactorsAreFractionsOf31BitsAndPowersOfTwo()
    {
        foreach (double factor in Factors)
        {
            var found = FixedPoint.Factor(factor);
            Assert.Equal(ReferenceArithmetic.Quantize(factor), found);
            Assert.InRange(found.Multiplier, 1L << 30, (1L << 31) - 1);
            Assert.InRange(Math.ScaleB(found.Multiplier, found.Shift - 31) / factor, 1 - Math.ScaleB(1, -31), 1 + Math.ScaleB(1, -31));
        }
    }

    [Fact]
    public void NoFactorAndOneThatIsTooSmallAreZero()
    {
        Assert.Equal((0, 0), FixedPoint.Factor(0));
        Assert.Equal((0, 0), FixedPoint.Factor(Math.ScaleB(1, -33)));
        Assert.Equal((1L << 30, -31), FixedPoint.Factor(Math.ScaleB(1, -32)));
        Assert.Equal([0L, 0], FixedPoint.Scale(tensor(new long[] { 5, -7 }), (0, 0)).data<long>().ToArray());
    }

    [Fact]
    public void SumsAreRoundedTwice() => Check(FixedPoint.Scale, ReferenceArithmetic.ScaleTwice, 1000);

    [Fact]
    public void SumsOfMatrixProductsAreRoundedOnce() => Check(FixedPoint.ScaleOnce, ReferenceArithmetic.ScaleOnce, 1000);

    [Fact]
    public void WideSumsHaveFactorsOf15Bits() => Check(FixedPoint.ScaleWide, ReferenceArithmetic.ScaleWide, 1000);

    /// <summary>Where a half is rounded to tells the three apart.</summary>
    [Fact]
    public void TiesGoWhereEachKernelSendsThem()
    {
        var halves = tensor(new long[] { 1, -1, 3, -3 });
        var half = FixedPoint.Factor(0.5);
        Assert.Equal([1L, 0, 2, -1], FixedPoint.Scale(halves, half).data<long>().ToArray());
        Assert.Equal([1L, 0, 2, -1], FixedPoint.ScaleOnce(halves, half).data<long>().ToArray());
        // A quarter is a half, rounded upwards, and then halved, away from zero.
        var quarters = tensor(new long[] { 1, 2, -2, 6, -6 });
        Assert.Equal([1L, 1, -1, 2, -2], FixedPoint.Scale(quarters, FixedPoint.Factor(0.25)).data<long>().ToArray());
        Assert.Equal([0L, 1, 0, 2, -1], FixedPoint.ScaleOnce(quarters, FixedPoint.Factor(0.25)).data<long>().ToArray());
        Assert.Equal([3f, -3, 2, -2, 0], FixedPoint.RoundAway(tensor(new[] { 2.5f, -2.5f, 1.5f, -1.5f, 0.4f })).data<float>().ToArray());
        Assert.Equal([0L, -1, 1, -1, -2], FixedPoint.ShiftRight(tensor(new long[] { 3, -3, 4, -4, -5 }), 2).data<long>().ToArray());
        Assert.Equal([1L, 0, 2, -1], FixedPoint.DivideUpwards(tensor(new long[] { 2, -2, 6, -6 }), tensor(4L)).data<long>().ToArray());
    }

    /// <summary>Channels are the last axis of the sums.</summary>
    [Fact]
    public void EachChannelHasItsFactor()
    {
        var factors = new[] { 0.25, 0.5, 3.0 }.Select(FixedPoint.Factor).ToArray();
        var sums = tensor(new long[] { 100, 100, 100, -50, -50, -50 }).view(2, 3);
        Assert.Equal([25L, 50, 300, -13, -25, -150], FixedPoint.Scale(sums, factors).data<long>().ToArray());
        Assert.Equal([25L, 50, 300, -12, -25, -150], FixedPoint.ScaleOnce(sums, factors).data<long>().ToArray());
    }

    private static void Check(Func<Tensor, (long, int)[], Tensor> scale, Func<long, (long, int), long> reference, double largest)
    {
        using var scope = NewDisposeScope();
        foreach (double value in Factors.Where(f => f < largest))
        {
            var factor = FixedPoint.Factor(value);
            // The result of a kernel is of 32 bits.
            long[] sums = [.. Sums.Where(s => Math.Abs(s * value) < int.MaxValue && Math.Abs(s) * Math.Max(1, 2 * value) < int.MaxValue)];
            Assert.Equal(sums.Select(s => reference(s, factor)), scale(tensor(sums), [factor]).data<long>().ToArray());
        }
    }
}
