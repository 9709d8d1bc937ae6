using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Assembled;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Tests.Kernels;

public unsafe class HalfByteKernelTests
{
    private static readonly HalfByteAvx2IntegerKernel Kernel = new();

    [Theory]
    [InlineData(-8, -128)]
    [InlineData(-8, 127)]
    [InlineData(7, -128)]
    [InlineData(7, 127)]
    public void SumsThatAreAsLargeAsTheyCanBeFit(int code, int activation)
    {
        SkipUnlessSupported();
        foreach (var (k, tile) in new[] { (64, 64), (200, 200), (2200, 2200), (256, 32), (256, 64), (288, 144), (512, 256), (816, 272) })
            foreach (var m in new[] { 5, 6, 37 })
            {
                sbyte[] codes = [.. Enumerable.Repeat((sbyte)code, 20 * k)], x = [.. Enumerable.Repeat((sbyte)activation, m * k)];
                float[] scales = [.. Enumerable.Repeat(1f, 20 * (k / tile))], ones = [.. Enumerable.Repeat(1f, m)], y = new float[m * 20];
                fixed (sbyte* pc = codes, px = x)
                fixed (float* ps = scales, po = ones, py = y)
                {
                    using var weight = PackedWeight.FromIntegers(pc, ps, 20, k, tile, bits: 4);
                    Assert.True(Kernel.Serves(weight, m));
                    var input = new QuantizedInput { Source = QuantizedSource.Codes, Values = (nint)px, RowStride = k, Rows = m, Scales = (nint)po, ScaleRowStride = 1 };
                    MatMul.Quantized(input, weight, new((nint)py, 20), 2, Sample.Pinned(Kernel));
                }
                Assert.All(y, value => Assert.Equal(code * activation * k, value));
            }
    }

    [Fact]
    public void ServesSeveralRowsOfHalfBytes()
    {
        SkipUnlessSupported();
        var random = new Random(1);
        using var channels = Sample.Integers(random, 20, 128, 128, 4);
        using var tiles = Sample.Integers(random, 20, 128, 64, 4);
        using var shortTiles = Sample.Integers(random, 20, 128, 32, 4);
        using var bytes = Sample.Integers(random, 20, 128, 128, 8);
        foreach (var (weight, fewest) in new[] { (channels, 5), (tiles, 5), (shortTiles, 2) })
        {
            Assert.False(Kernel.Serves(weight.Packed, fewest - 1));
            Assert.True(Kernel.Serves(weight.Packed, fewest));
        }
        Assert.False(Kernel.Serves(bytes.Packed, 32));
    }

    [Fact]
    public void DigitPlanesOfSeveralRowsAreItsRowsToo()
    {
        SkipUnlessSupported();
        using var weight = Sample.Integers(new Random(1), 20, 128, 32, 4);
        var selector = Sample.Pinned(Kernel);
        Assert.Same(Kernel, selector.Planes(weight.Packed, 2));
        Assert.Same(Kernel, selector.Planes(weight.Packed, 4));
        Assert.NotSame(Kernel, selector.Planes(weight.Packed, 1));
        Assert.NotSame(Kernel, selector.Planes(weight.Packed, 5));
    }

    private static void SkipUnlessSupported() => Assert.SkipUnless(Kernel.IsSupported, "needs AVX2");
}
