using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.ArmPaths;
using QwixSharp.Kernels.Avx2Paths;
using QwixSharp.Kernels.Convolutions;
using QwixSharp.Kernels.Portable;

namespace QwixSharp.Tests.Kernels;

public unsafe partial class ConvolutionTests
{
    public static TheoryData<int> Selectors() => [.. Enumerable.Range(0, AllSelectors().Count())];

    [Theory]
    [MemberData(nameof(Selectors))]
    public void EveryKindOfConvolutionIsExact(int selector)
    {
        var random = new Random(1);
        foreach (var form in Enum.GetValues<ImageForm>())
            foreach (var shape in Shapes())
                new Case(random, shape, form).Check(AllSelectors().ElementAt(selector));
    }

    [Theory]
    [MemberData(nameof(Selectors))]
    public void PixelsByThemselvesAreExact(int selector)
    {
        var random = new Random(6 + selector);
        for (var i = 0; i < 60; i++)
        {
            var shape = AnyShape(random) with { KernelHeight = 1, KernelWidth = 1, PadTop = 0, PadBottom = 0, PadLeft = 0, PadRight = 0, Groups = 1 };
            new Case(random, shape, ImageForm.CodesChannelsFirst).Check(AllSelectors().ElementAt(selector));
        }
    }

    [Theory]
    [MemberData(nameof(Selectors))]
    public void AnyShapeIsExact(int selector)
    {
        var random = new Random(2 + selector);
        var forms = Enum.GetValues<ImageForm>();
        for (var i = 0; i < 150; i++)
            new Case(random, AnyShape(random), forms[random.Next(forms.Length)]).Check(AllSelectors().ElementAt(selector));
    }

    [Theory]
    [MemberData(nameof(Selectors))]
    public void TheSmallestCodesOnBothSidesAreExact(int selector)
    {
        var shape = new ConvolutionShape { Height = 5, Width = 5, Channels = 64, OutChannels = 16, KernelHeight = 3, KernelWidth = 3, PadTop = 1, PadBottom = 1, PadLeft = 1, PadRight = 1 };
        foreach (var zeroPoint in new[] { -128, 0, 127 })
            new Case(new Random(3), shape, ImageForm.Codes, zeroPoint, code: -128).Check(AllSelectors().ElementAt(selector));
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void ValuesThatHaveNoCodeAreTold(float value)
    {
        var shape = new ConvolutionShape { Height = 6, Width = 6, Channels = 3, OutChannels = 20, KernelHeight = 3, KernelWidth = 3 };
        float[] image = new float[6 * 6 * 3], scales = new float[20], bias = new float[20], y = new float[4 * 4 * 20];
        var codes = new sbyte[20 * 27];
        fixed (float* pi = image, ps = scales, pb = bias, py = y)
        fixed (sbyte* pc = codes)
        {
            foreach (var selector in AllSelectors())
            {
                using var convolution = ConvolutionKernel.Pack(pc, ps, shape, 8, selector);
                foreach (var form in new[] { ImageForm.Floats, ImageForm.FloatsChannelsFirst })
                {
                    var input = new ConvolutionInput((nint)pi, form, 6, 6, 1, 0, CodeRange.Int8);
                    var output = new ConvolutionOutput { Floats = (nint)py, Codes = (nint)py, Bias = (nint)pb, ChannelsLast = true, CodeScale = 1, CodeRange = CodeRange.Int8 };
                    Assert.True(convolution.Run(input, output, 1));
                    image[70] = value;
                    Assert.False(convolution.Run(input, output, 1));
                    image[70] = 0;
                    bias[19] = value;
                    Assert.False(convolution.Run(input, output, 1));
                    bias[19] = 0;
                }
            }
        }
    }

    [Fact]
    public void QuotientsAreThoseOfADivision()
    {
        var random = new Random(4);
        var shape = new ConvolutionShape { Height = 1, Width = 1000, Channels = 4, OutChannels = 16, KernelHeight = 1, KernelWidth = 1 };
        using var convolution = Identity(shape);
        var values = new float[16_000];
        var image = new sbyte[4000];
        var codes = new byte[16_000];
        for (var round = 0; round < 50; round++)
        {
            var scale = (float)Math.Exp(random.NextDouble() * 60 - 30) * (random.Next(4) == 0 ? 1 : 1 + random.NextSingle());
            for (var i = 0; i < values.Length; i++)
                values[i] = Near(random, scale);
            fixed (sbyte* pi = image)
            fixed (float* pv = values)
            fixed (byte* pc = codes)
                Assert.True(convolution.Run(
                    new ConvolutionInput((nint)pi, ImageForm.Codes, 1, 1000, 1),
                    new ConvolutionOutput { Codes = (nint)pc, ChannelsLast = true, Addend = (nint)pv, CodeScale = scale, CodeRange = CodeRange.Int8 },
                    1));
            for (var i = 0; i < values.Length; i++)
                Assert.Equal(Math.Clamp(MathF.Round(values[i] / scale), -128, 127) + 128, codes[i]);
        }
    }

    /// <summary>A value close to where a code ends and the next begins.</summary>
    private static float Near(Random random, float scale)
    {
        var value = (random.Next(-130, 130) + 0.5f) * scale;
        for (var steps = random.Next(-3, 4); steps != 0; steps -= Math.Sign(steps))
            value = steps > 0 ? MathF.BitIncrement(value) : MathF.BitDecrement(value);
        return value;
    }

    private static ConvolutionKernel Identity(ConvolutionShape shape)
    {
        fixed (sbyte* codes = new sbyte[shape.OutChannels * shape.WindowSize])
        fixed (float* scales = new float[shape.OutChannels])
            return ConvolutionKernel.Pack(codes, scales, shape);
    }

    [Fact]
    public void PoolsAreThoseOfTheDefinition()
    {
        var random = new Random(5);
        foreach (var channels in new[] { 1, 16, 37 })
        {
            var shape = new ConvolutionShape { Height = 9, Width = 7, Channels = channels, OutChannels = channels, KernelHeight = 3, KernelWidth = 2, StrideY = 2, StrideX = 3, PadTop = 1, PadBottom = 1, PadLeft = 1, PadRight = 1 };
            float[] image = Sample.Floats(random, 63 * channels), most = new float[shape.OutHeight * shape.OutWidth * channels], mean = new float[channels];
            fixed (float* pi = image, pm = most, pe = mean)
            {
                ImagePooling.Max(pi, shape, pm, 2);
                ImagePooling.Mean(pi, 9, 7, channels, pe);
            }
            for (var channel = 0; channel < channels; channel++)
            {
                Assert.Equal(Enumerable.Range(0, 63).Average(i => (double)image[i * channels + channel]), mean[channel], 1e-5);
                for (var pixel = 0; pixel < shape.OutHeight * shape.OutWidth; pixel++)
                {
                    int top = pixel / shape.OutWidth * 2 - 1, left = pixel % shape.OutWidth * 3 - 1;
                    var inside = from y in Enumerable.Range(top, 3) from x in Enumerable.Range(left, 2) where y is >= 0 and < 9 && x is >= 0 and < 7 select image[(y * 7 + x) * channels + channel];
                    Assert.Equal(inside.Max(), most[pixel * channels + channel]);
                }
            }
        }
    }

    [Fact]
    public void WhatIsNeverNegativeIsKnown()
    {
        Assert.All([ImageActivation.Relu, ImageActivation.Clamp(0, 6), ImageActivation.Clamp(1, 0), ImageActivation.HardSigmoid], a => Assert.True(a.IsNeverNegative));
        Assert.All([default, ImageActivation.Clamp(-1, 6), ImageActivation.Clamp(3, -3), ImageActivation.Clamp(float.NaN, 6), ImageActivation.HardSwish], a => Assert.False(a.IsNeverNegative));
    }

    [Fact]
    public void SizesThatDoNotFitAreNamed()
    {
        var shape = new ConvolutionShape { Height = 2, Width = 9, Channels = 4, OutChannels = 4, KernelHeight = 3, KernelWidth = 3 };
        Assert.Contains("3x3", Assert.Throws<ArgumentException>(() => new PackedConvolution(null, null, shape)).Message);
        Assert.Contains("3 groups", Assert.Throws<ArgumentException>(() => new PackedConvolution(null, null, shape with { Height = 9, Groups = 3 })).Message);
        Assert.Contains("at least 1", Assert.Throws<ArgumentException>(() => new PackedConvolution(null, null, shape with { Height = 9, StrideX = 0 })).Message);
    }

    [Fact]
    public void CodesAndScalesComeBackAsTheyWerePacked()
    {
        var random = new Random(3);
        foreach (var shape in Shapes())
        {
            sbyte[] codes = new sbyte[shape.OutChannels * shape.WindowSize], back = new sbyte[codes.Length];
            for (var i = 0; i < codes.Length; i++)
                codes[i] = (sbyte)random.Next(-128, 128);
            var scales = Sample.Floats(random, shape.OutChannels);
            fixed (sbyte* pc = codes, pb = back)
            fixed (float* ps = scales)
            {
                using var convolution = ConvolutionKernel.Pack(pc, ps, shape);
                convolution.CopyCodes(pb, 2);
                Assert.Equal(scales, Enumerable.Range(0, shape.OutChannels).Select(convolution.Scale));
            }
            Assert.Equal(codes, back);
        }
    }

    private static IEnumerable<ConvolutionShape> Shapes()
    {
        var plain = new ConvolutionShape { Height = 9, Width = 7, Channels = 6, OutChannels = 20, KernelHeight = 3, KernelWidth = 3 };
        yield return plain;
        yield return plain with { KernelHeight = 1, KernelWidth = 1, Channels = 16, OutChannels = 33 };
        foreach (var (channels, outChannels, width, stride) in new[] { (64, 128, 56, 2), (18, 33, 63, 2), (32, 20, 40, 1), (4, 16, 29, 3), (7, 5, 33, 2) })
            yield return plain with { KernelHeight = 1, KernelWidth = 1, Channels = channels, OutChannels = outChannels, Width = width, StrideX = stride, StrideY = stride };
        yield return plain with { Channels = 16, OutChannels = 24, Width = 75 };
        yield return plain with { PadTop = 1, PadBottom = 1, PadLeft = 1, PadRight = 1, StrideX = 2, StrideY = 2 };
        yield return plain with { PadTop = 2, PadRight = 3, DilationX = 2, DilationY = 3, StrideX = 3 };
        yield return plain with { Groups = 2, PadLeft = 1, PadRight = 1 };
        yield return plain with { Channels = 5, OutChannels = 5, Groups = 5, PadTop = 1, PadBottom = 1 };
        yield return plain with { Channels = 40, OutChannels = 40, Groups = 40, Width = 35, PadTop = 1, PadLeft = 1, PadRight = 1 };
        yield return plain with { Channels = 32, OutChannels = 32, Groups = 32, KernelWidth = 2, StrideX = 2, StrideY = 3, DilationX = 2, DilationY = 2, PadBottom = 2 };
        yield return plain with { Channels = 8, OutChannels = 16, Groups = 8 };
        yield return plain with { Channels = 48, OutChannels = 48, Groups = 48, Width = 31, PadTop = 1, PadBottom = 1, PadLeft = 1, PadRight = 1 };
        yield return plain with { Channels = 24, OutChannels = 24, Groups = 24, KernelHeight = 5, KernelWidth = 5, Width = 40, StrideX = 2, StrideY = 2, DilationY = 2, PadTop = 2, PadBottom = 2, PadLeft = 2, PadRight = 1 };
        yield return plain with { Channels = 19, OutChannels = 19, Groups = 19, KernelHeight = 1, KernelWidth = 9, Width = 60, StrideX = 5 };
        yield return plain with { Channels = 3, OutChannels = 16, KernelHeight = 7, KernelWidth = 7, PadTop = 3, PadBottom = 3, PadLeft = 3, PadRight = 3, StrideX = 2, StrideY = 2 };
    }

    /// <summary>Convolutions through every kernel, and through products with every kernel; real ones and those with a stand-in.</summary>
    private static IEnumerable<KernelSelector> AllSelectors() =>
    [
        .. KernelSelector.AllWindowKernels().Append(new DotWindowKernel<SoftwareDot>()).Where(k => k.IsSupported).Select(Pinned),
        .. KernelSelector.AllIntegerKernels().Append(new ArmDotKernel<SoftwareSignedDot>()).Where(k => k.IsSupported).Select(Sample.Pinned),
    ];

    private static KernelSelector Pinned(WindowKernel kernel) =>
        new([new PortableIntegerKernel()], [], kernel.IsGeneral ? [kernel] : [kernel, new DotWindowKernel<SoftwareDot>()]);

    private static ConvolutionShape AnyShape(Random random)
    {
        var groups = random.Next(3) == 0 ? random.Next(1, 5) : 1;
        var depthwise = random.Next(4) == 0 ? random.Next(1, 70) : 0;
        var shape = new ConvolutionShape
        {
            Height = random.Next(1, 20),
            Width = random.Next(1, 36),
            Channels = groups * random.Next(1, random.Next(2) == 0 ? 6 : 40),
            OutChannels = groups * random.Next(1, random.Next(2) == 0 ? 20 : 90),
            KernelHeight = random.Next(1, 6),
            KernelWidth = random.Next(1, 6),
            StrideX = random.Next(1, 4),
            StrideY = random.Next(1, 4),
            PadTop = random.Next(3),
            PadBottom = random.Next(3),
            PadLeft = random.Next(3),
            PadRight = random.Next(3),
            DilationX = random.Next(3) == 0 ? random.Next(1, 4) : 1,
            DilationY = random.Next(3) == 0 ? random.Next(1, 4) : 1,
            Groups = groups,
        };
        if (depthwise > 0)
            shape = shape with { Channels = depthwise, OutChannels = depthwise, Groups = depthwise };
        try
        {
            shape.Check();
            return shape;
        }
        catch (ArgumentException)
        {
            return AnyShape(random);
        }
    }
}
