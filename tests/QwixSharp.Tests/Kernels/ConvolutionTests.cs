using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Tests.Kernels;

public unsafe class ConvolutionTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void EveryKindOfConvolutionIsExact(bool channelsLast)
    {
        var random = new Random(1);
        foreach (var kernel in KernelSelector.AllIntegerKernels().Where(k => k.IsSupported))
            foreach (var shape in Shapes())
            {
                var bits = random.Next(2) == 0 ? 4 : 8;
                var zeroPoint = random.Next(3) == 0 ? 0 : random.Next(-128, 128);
                Check(random, shape, bits, zeroPoint, channelsLast, new KernelSelector([kernel], []));
            }
    }

    [Fact]
    public void ImagesAreQuantizedWithTheirChannelsLast()
    {
        var random = new Random(2);
        foreach (var channels in new[] { 1, 3, 4, 5, 16 })
        {
            var x = Sample.Floats(random, channels * 150, 250);
            var codes = new sbyte[x.Length];
            fixed (float* px = x)
            fixed (sbyte* pc = codes)
                PackedConvolution.QuantizeImage(px, channels, 150, 1.5f, 3, CodeRange.Int8, pc, 2);
            for (var i = 0; i < x.Length; i++)
                Assert.Equal(Math.Clamp(MathF.Round(x[i] / 1.5f + 3), -128, 127), codes[i % 150 * channels + i / 150]);
        }
    }

    [Fact]
    public void ImagesOfCodesGetTheirChannelsLast()
    {
        var random = new Random(2);
        foreach (var channels in new[] { 1, 3, 16, 20, 37, 64 })
            foreach (var pixels in new[] { 1, 16, 150, 256, 400, 784 })
            {
                sbyte[] image = new sbyte[channels * pixels], codes = new sbyte[image.Length];
                for (var i = 0; i < image.Length; i++)
                    image[i] = (sbyte)random.Next(-128, 128);
                fixed (sbyte* pi = image, pc = codes)
                    PackedConvolution.ChannelsLast(pi, channels, pixels, pc, 2);
                for (var i = 0; i < codes.Length; i++)
                    Assert.Equal(image[i % channels * pixels + i / channels], codes[i]);
            }
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
        yield return plain with { PadTop = 1, PadBottom = 1, PadLeft = 1, PadRight = 1, StrideX = 2, StrideY = 2 };
        yield return plain with { PadTop = 2, PadRight = 3, DilationX = 2, DilationY = 3, StrideX = 3 };
        yield return plain with { Groups = 2, PadLeft = 1, PadRight = 1 };
        yield return plain with { Channels = 5, OutChannels = 5, Groups = 5, PadTop = 1, PadBottom = 1 };
        yield return plain with { Channels = 40, OutChannels = 40, Groups = 40, Width = 35, PadTop = 1, PadLeft = 1, PadRight = 1 };
        yield return plain with { Channels = 32, OutChannels = 32, Groups = 32, KernelWidth = 2, StrideX = 2, StrideY = 3, DilationX = 2, DilationY = 2, PadBottom = 2 };
        yield return plain with { Channels = 8, OutChannels = 16, Groups = 8 };
        yield return plain with { Channels = 3, OutChannels = 16, KernelHeight = 7, KernelWidth = 7, PadTop = 3, PadBottom = 3, PadLeft = 3, PadRight = 3, StrideX = 2, StrideY = 2 };
    }

    private static void Check(Random random, ConvolutionShape shape, int bits, int zeroPoint, bool channelsLast, KernelSelector selector)
    {
        var image = new sbyte[shape.Height * shape.Width * shape.Channels];
        for (var i = 0; i < image.Length; i++)
            image[i] = (sbyte)random.Next(-128, 128);
        var codes = new sbyte[shape.OutChannels * shape.WindowSize];
        for (var i = 0; i < codes.Length; i++)
            codes[i] = (sbyte)random.Next(-(1 << (bits - 1)), 1 << (bits - 1));
        var scales = Sample.Floats(random, shape.OutChannels);
        var bias = Sample.Floats(random, shape.OutChannels, 1000);
        var pixels = shape.OutHeight * shape.OutWidth;
        var y = new float[pixels * shape.OutChannels];
        fixed (sbyte* pi = image, pc = codes)
        fixed (float* ps = scales, pb = bias, py = y)
        {
            using var convolution = ConvolutionKernel.Pack(pc, ps, shape, bits);
            convolution.Run(pi, shape.Height, shape.Width, 0.25f, zeroPoint, py, channelsLast, pb, FusedActivation.Relu, 2, selector);
        }
        for (var channel = 0; channel < shape.OutChannels; channel++)
            for (var pixel = 0; pixel < pixels; pixel++)
            {
                var sum = Plain(image, codes, shape, zeroPoint, channel, pixel);
                var expected = Math.Max(0, sum * 0.25 * scales[channel] + bias[channel]);
                var actual = y[channelsLast ? pixel * shape.OutChannels + channel : channel * pixels + pixel];
                Assert.Equal(expected, actual, 1e-6 * (Math.Abs(sum * 0.25 * scales[channel]) + Math.Abs(bias[channel])));
            }
    }

    private static long Plain(sbyte[] image, sbyte[] codes, ConvolutionShape shape, int zeroPoint, int channel, int pixel)
    {
        var group = channel / shape.GroupOutChannels;
        var sum = 0L;
        for (var c = 0; c < shape.GroupChannels; c++)
            for (var ky = 0; ky < shape.KernelHeight; ky++)
                for (var kx = 0; kx < shape.KernelWidth; kx++)
                {
                    var row = pixel / shape.OutWidth * shape.StrideY - shape.PadTop + ky * shape.DilationY;
                    var column = pixel % shape.OutWidth * shape.StrideX - shape.PadLeft + kx * shape.DilationX;
                    if (row < 0 || row >= shape.Height || column < 0 || column >= shape.Width)
                        continue;
                    var code = image[(row * shape.Width + column) * shape.Channels + group * shape.GroupChannels + c];
                    sum += (code - zeroPoint) * codes[((channel * shape.GroupChannels + c) * shape.KernelHeight + ky) * shape.KernelWidth + kx];
                }
        return sum;
    }
}
