using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Assembled;
using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Tests.Kernels;

public unsafe class ClippedPanelsTests
{
    private static readonly ConvolutionShape Shape = new() { Height = 5, Width = 13, Channels = 16, OutChannels = 20, KernelHeight = 3, KernelWidth = 3, PadLeft = 1, PadRight = 1 };

    /// <summary>The sums of codes of one sign just within and just beyond what fits, and the ends of the range.</summary>
    private static readonly sbyte[] Telling = [-128, -127, -65, -64, -63, -1, 0, 1, 2, 63, 64, 65, 66, 126, 127];

    public static TheoryData<bool> Widths() => [false, true];

    [Theory]
    [MemberData(nameof(Widths))]
    public void WhatIsLeftFitsAndNothingIsLost(bool isNarrow)
    {
        SkipUnlessSupported();
        using var weight = Weight(Few(new Random(1), Shape, Telling));
        var clipped = weight.Clipped(isNarrow)!;
        var rests = 0;
        var segments = stackalloc nint[] { 0, 1000, 2000 };
        for (var place = 0; place < weight.AllPanels; place++)
        {
            using var room = new AlignedMemory(clipped.Room);
            var panel = clipped.Prepare(place, segments, room.Pointer);
            rests += (int)(panel.FirstRests + panel.OtherRests);
            for (var half = 0; half < 2; half++)
            {
                var left = Left(weight, panel, half, isNarrow);
                CheckFits(left, isNarrow);
                for (var rest = half == 0 ? 0 : panel.FirstRests; rest < (half == 0 ? panel.FirstRests : panel.FirstRests + panel.OtherRests); rest++)
                {
                    var (segment, distance) = Math.DivRem((int)panel.RestPlaces[rest], 1000);
                    for (var i = 0; i < 32; i++)
                        left[segment * weight.Groups + distance / 4, i] += panel.Rests[rest * 32 + i];
                }
                for (var step = 0; step < left.GetLength(0); step++)
                    for (var i = 0; i < 32; i++)
                        Assert.Equal(weight.Codes[place * weight.PanelBytes + step * 64 + half * 32 + i], left[step, i]);
            }
        }
        Assert.NotEqual(0, rests);
    }

    [Theory]
    [MemberData(nameof(Widths))]
    public void SumsOfTheLargestBytesAreExact(bool isNarrow)
    {
        SkipUnlessSupported();
        var random = new Random(2);
        foreach (var stride in new[] { 1, 2 })
            foreach (var telling in new sbyte[][] { Telling, [-128], [127], [-128, 127] })
                Check(random, Shape with { StrideX = stride }, Few(random, Shape, telling), isNarrow);
        Check(random, Shape with { Groups = 2 }, Few(random, Shape with { Groups = 2 }, Telling), isNarrow);
    }

    [Fact]
    public void ServesWhatItCanGainBy()
    {
        SkipUnlessSupported();
        var random = new Random(3);
        Assert.Equal((true, true), Serves(Few(random, Shape, Telling), Shape));
        Assert.Equal((true, true), Serves(Uniform(random, Shape, 60), Shape));
        // Where nearly every sum is too large, and where only those of bytes with 8 bits are.
        Assert.Equal((false, false), Serves([.. Uniform(random, Shape, 1).Select(_ => (sbyte)127)], Shape));
        Assert.Equal((false, true), Serves([.. Uniform(random, Shape, 1).Select((_, i) => (sbyte)(i / 9 % 8 < 4 ? 80 : -80))], Shape));
        // An odd number of steps.
        var shape = Shape with { Channels = 4 };
        Assert.Equal((false, false), Serves(Few(random, shape, Telling), shape));
    }

    [Fact]
    public void AKernelThatServesSomeWeightsAloneServesNoConvolution()
    {
        var some = new KernelSelector([], [], [new ClippedAvx2WindowKernel(forNarrow: true), new ClippedAvx2WindowKernel(forNarrow: false)]);
        Assert.False(some.ServesWindows(Shape, 8));
    }

    private static (bool Bytes, bool Narrow) Serves(sbyte[] codes, ConvolutionShape shape)
    {
        using var weight = Weight(codes, shape);
        return (new ClippedAvx2WindowKernel(forNarrow: false).Serves(weight, isNarrow: false), new ClippedAvx2WindowKernel(forNarrow: true).Serves(weight, isNarrow: true));
    }

    private static void SkipUnlessSupported() => Assert.SkipUnless(AssembledMachine.IsAvailable, "needs AVX2");

    private static SegmentedWeight Weight(sbyte[] codes, ConvolutionShape? shape = null)
    {
        fixed (sbyte* c = codes)
        fixed (float* scales = new float[Shape.OutChannels])
            return new SegmentedWeight(c, scales, shape ?? Shape);
    }

    private static sbyte[] Uniform(Random random, ConvolutionShape shape, int most) => [.. Enumerable.Range(0, shape.OutChannels * shape.WindowSize).Select(_ => (sbyte)random.Next(-most, most + 1))];

    /// <summary>Small codes but for some windows of few output channels.</summary>
    private static sbyte[] Few(Random random, ConvolutionShape shape, sbyte[] telling)
    {
        var codes = Uniform(random, shape, 30);
        foreach (var channel in new[] { 0, 9, shape.OutChannels - 1 })
            for (var i = 0; i < shape.GroupChannels; i++)
                for (var place = 4; place < 6; place++)
                    if (i / 4 % 3 == 0)
                        codes[channel * shape.WindowSize + i * 9 + place] = telling[random.Next(telling.Length)];
        return codes;
    }

    /// <summary>[step][8 channels × 4] codes of half a prepared panel.</summary>
    private static int[,] Left(SegmentedWeight weight, PreparedPanel panel, int half, bool isNarrow)
    {
        var steps = weight.Segments * weight.Groups;
        var left = new int[steps, 32];
        for (var step = 0; step < steps; step++)
            for (var i = 0; i < 32; i++)
                left[step, i] = panel.Codes[isNarrow ? step * 64 + half * 32 + i : half * (steps / 2) * ClippedPanels.PairBytes + step / 2 * ClippedPanels.PairBytes + step % 2 * 32 + i];
        return left;
    }

    private static void CheckFits(int[,] left, bool isNarrow)
    {
        var (lowest, highest) = isNarrow ? (0, 127) : (-127, 128);
        for (var step = 0; step < left.GetLength(0); step += 2)
            for (var i = 0; i < 32; i += 2)
            {
                int[] four = [left[step, i], left[step, i + 1], left[step + 1, i], left[step + 1, i + 1]];
                Assert.InRange(four.Sum(code => code > 0 ? highest * code : lowest * code), short.MinValue, short.MaxValue);
                Assert.InRange(four.Sum(code => code > 0 ? lowest * code : highest * code), short.MinValue, short.MaxValue);
                var largest = isNarrow ? 127 : 255;
                foreach (var (a, b) in new[] { (four[0], four[1]), (four[2], four[3]) })
                {
                    Assert.InRange(largest * (Math.Max(a, 0) + Math.Max(b, 0)), 0, short.MaxValue);
                    Assert.InRange(largest * (Math.Min(a, 0) + Math.Min(b, 0)), short.MinValue, 0);
                }
            }
    }

    /// <summary>Images of nothing but the largest and smallest bytes, and of some in between.</summary>
    private static void Check(Random random, ConvolutionShape shape, sbyte[] codes, bool isNarrow)
    {
        var (most, zeroPoint) = (isNarrow ? 127 : 255, isNarrow ? -100 : 5);
        for (var kind = 0; kind < 4; kind++)
        {
            var image = new byte[shape.Height * shape.Width * shape.Channels];
            for (var i = 0; i < image.Length; i++)
                image[i] = (byte)(kind switch { 0 => most, 1 => 0, 2 => random.Next(2) * most, _ => random.Next(most + 1) });
            float[] y = new float[shape.OutHeight * shape.OutWidth * shape.OutChannels], scales = [.. Enumerable.Repeat(1f, shape.OutChannels)];
            fixed (byte* pi = image)
            fixed (sbyte* pc = codes)
            fixed (float* ps = scales, py = y)
            {
                var kernel = new ClippedAvx2WindowKernel(isNarrow);
                // Without the words of the general kernel: what it would serve fails.
                using var convolution = new DirectConvolution(pc, ps, shape, new KernelSelector([], [], [kernel]));
                var input = new ConvolutionInput((nint)pi, ImageForm.UnsignedCodes, shape.Height, shape.Width, 1, zeroPoint, isNarrow ? new CodeRange(-128, -1) : CodeRange.Int8);
                Assert.True(convolution.Run(input, new ConvolutionOutput { Floats = (nint)py, ChannelsLast = true }, 2));
            }
            for (var i = 0; i < y.Length; i++)
                Assert.Equal(Sum(shape, codes, image, zeroPoint, i / shape.OutChannels, i % shape.OutChannels), y[i]);
        }
    }

    private static float Sum(ConvolutionShape shape, sbyte[] codes, byte[] image, int zeroPoint, int pixel, int channel)
    {
        var sum = 0;
        for (var c = 0; c < shape.GroupChannels; c++)
            for (var i = 0; i < 9; i++)
            {
                var (row, column) = (pixel / shape.OutWidth + i / 3, pixel % shape.OutWidth * shape.StrideX - 1 + i % 3);
                var inGroup = channel / shape.GroupOutChannels * shape.GroupChannels + c;
                if ((uint)column < (uint)shape.Width)
                    sum += (image[(row * shape.Width + column) * shape.Channels + inGroup] - 128 - zeroPoint) * codes[channel * shape.WindowSize + c * 9 + i];
            }
        return sum;
    }
}
