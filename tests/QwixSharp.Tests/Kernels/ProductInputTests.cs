using QwixSharp.Kernels;

namespace QwixSharp.Tests.Kernels;

/// <summary>Products of memory that begins anywhere, of very many rows, and of none.</summary>
public unsafe class ProductInputTests
{
    [Fact]
    public void OperandsMayBeginAnywhere()
    {
        var random = new Random(1);
        foreach (var (m, n, k) in new[] { (1, 33, 64), (3, 17, 75), (9, 40, 96), (30, 16, 128) })
            foreach (var weightOnly in new[] { false, true })
                foreach (var kernel in Selectors(weightOnly))
                {
                    using var weight = weightOnly ? Sample.Bytes(random, n, k, k, Sample.E4M3) : Sample.Integers(random, n, k, k, 8);
                    var x = Sample.Floats(random, m * k);
                    var expected = Multiply(weight, x, m, weightOnly, kernel, shift: 0);
                    foreach (var shift in new[] { 1, 3, 4, 13 })
                        Assert.Equal(expected, Multiply(weight, x, m, weightOnly, kernel, shift));
                }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ManyRowsAreEachAsIfAlone(bool weightOnly)
    {
        const int Rows = 70_001, Kinds = 7;
        var random = new Random(2);
        using var weight = Sample.Integers(random, 3, 5, 5, 8);
        var few = Sample.Floats(random, Kinds * 5);
        var x = new float[Rows * 5];
        for (var row = 0; row < Rows; row++)
            few.AsSpan(row % Kinds * 5, 5).CopyTo(x.AsSpan(row * 5));
        var selector = Selectors(weightOnly).First();
        var y = Multiply(weight, x, Rows, weightOnly, selector, shift: 0);
        for (var kind = 0; kind < Kinds; kind++)
        {
            var alone = Multiply(weight, few[(kind * 5)..(kind * 5 + 5)], 1, weightOnly, selector, shift: 0);
            for (var row = kind; row < Rows; row += Kinds)
                for (var i = 0; i < 3; i++)
                    Assert.Equal(alone[i], y[row * 3 + i], 1e-5f * Math.Abs(alone[i]) + 1e-6f);
        }
    }

    [Fact]
    public void NoRowsNoColumnsAndNoDepth()
    {
        var random = new Random(3);
        float[] bias = [1, 2, 3, 4, 5], y = [9, 9, 9, 9, 9];
        var x = 0f;
        foreach (var selector in Selectors(weightOnly: true))
        {
            using var deep = Sample.Bytes(random, 5, 0, 32, Sample.E4M3);
            using var narrow = Sample.Bytes(random, 0, 8, 8, Sample.E4M3);
            Array.Fill(y, 9);
            fixed (float* py = y, pb = bias)
            {
                MatMul.WeightOnly(&x, 0, 0, deep.Packed, new((nint)py, 5, (nint)pb), 1, selector);
                MatMul.WeightOnly(&x, 8, 1, narrow.Packed, new((nint)py, 0), 1, selector);
                Assert.All(y, v => Assert.Equal(9, v));
                MatMul.WeightOnly(&x, 0, 1, deep.Packed, new((nint)py, 5, (nint)pb), 1, selector);
                Assert.Equal(bias, y);
            }
        }
    }

    private static IEnumerable<KernelSelector> Selectors(bool weightOnly) => weightOnly
        ? KernelSelector.AllFloatKernels().Where(k => k.IsSupported).Select(k => new KernelSelector([], [k, .. KernelSelector.AllFloatKernels()]))
        : KernelSelector.AllIntegerKernels().Where(k => k.IsSupported).Select(Sample.Pinned);

    /// <summary>x · wᵀ with both x and the result some elements behind a boundary of 64 bytes.</summary>
    private static float[] Multiply(Sample weight, float[] x, int m, bool weightOnly, KernelSelector selector, int shift)
    {
        using AlignedMemory from = new((x.Length + shift) * 4), to = new((m * weight.N + shift) * 4);
        float* px = (float*)from.Pointer + shift, py = (float*)to.Pointer + shift;
        x.CopyTo(new Span<float>(px, x.Length));
        if (weightOnly)
            MatMul.WeightOnly(px, weight.K, m, weight.Packed, new((nint)py, weight.N), 2, selector);
        else
            MatMul.Dynamic(px, weight.K, m, weight.Packed, new((nint)py, weight.N), 2, selector: selector);
        return new ReadOnlySpan<float>(py, m * weight.N).ToArray();
    }
}
