using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Tests.Kernels;

/// <summary>Images of few channels become codes as one division and rounding at a time would give them.</summary>
public unsafe class FewChannelsTests
{
    private const byte Untouched = 0xAB;

    /// <summary>Counts of whole vectors, and those whose last vector overlaps the one before.</summary>
    private static readonly int[] Counts = [16, 17, 31, 32, 33, 100];

    [Fact]
    public void CodesAreRoundedHalfToEvenAndSaturate()
    {
        var random = new Random(1);
        foreach (var (channels, count) in Cases())
            for (var round = 0; round < 8; round++)
            {
                var scale = MathF.ScaleB(1 + random.NextSingle(), random.Next(-20, 20));
                var range = round % 2 == 0 ? CodeRange.Int8 : new CodeRange(-7, 100);
                var zeroPoint = round % 3 == 0 ? 0 : random.Next(range.Lowest, range.Highest + 1);
                var x = new float[channels * count];
                for (var i = 0; i < x.Length; i++)
                    x[i] = Value(random, scale, zeroPoint);
                var codes = Quantize(x, channels, count, scale, zeroPoint, range, out var isFinite);
                Assert.True(isFinite);
                for (var pixel = 0; pixel < count; pixel++)
                    for (var channel = 0; channel < channels; channel++)
                    {
                        var value = x[channel * count + pixel];
                        var code = Math.Clamp(MathF.Round(value / scale + zeroPoint, MidpointRounding.ToEven), range.Lowest, range.Highest);
                        Assert.Equal(code + 128, codes[pixel * channels + channel]);
                    }
            }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void AValueWithoutACodeIsToldWhereverItIs(float value)
    {
        foreach (var (channels, count) in Cases())
        {
            var x = new float[channels * count];
            for (var place = 0; place < x.Length; place += 1 + place % 3)
            {
                x[place] = value;
                Quantize(x, channels, count, 0.5f, 3, CodeRange.Int8, out var isFinite);
                Assert.False(isFinite);
                x[place] = 0;
            }
            Quantize(x, channels, count, 0.5f, 3, CodeRange.Int8, out var areFinite);
            Assert.True(areFinite);
        }
    }

    [Fact]
    public void ValuesThatTheScaleMakesInfiniteSaturate()
    {
        float[] x = [.. Enumerable.Range(0, 16).Select(i => i % 2 == 0 ? float.MaxValue : float.MinValue)];
        var codes = Quantize(x, 1, 16, 1e-30f, 0, CodeRange.Int8, out var isFinite);
        Assert.True(isFinite);
        Assert.Equal(Enumerable.Range(0, 16).Select(i => i % 2 == 0 ? (byte)255 : (byte)0), codes);
    }

    private static IEnumerable<(int Channels, int Count)> Cases() =>
        from channels in Enumerable.Range(1, FewChannels.Most) from count in Counts select (channels, count);

    /// <summary>Whole codes, halves between two, what is next to those, and what lies beyond the range.</summary>
    private static float Value(Random random, float scale, int zeroPoint)
    {
        var value = (random.Next(-300, 300) / 2f - zeroPoint) * scale;
        return random.Next(5) switch
        {
            0 => MathF.BitIncrement(value),
            1 => MathF.BitDecrement(value),
            2 => value * 1000,
            _ => value,
        };
    }

    private static byte[] Quantize(float[] x, int channels, int count, float scale, int zeroPoint, CodeRange range, out bool isFinite)
    {
        var codes = new byte[channels * count + 64];
        Array.Fill(codes, Untouched);
        fixed (float* px = x)
        fixed (byte* pc = codes)
        {
            var input = new ConvolutionInput((nint)px, ImageForm.FloatsChannelsFirst, 1, count, scale, zeroPoint, range);
            isFinite = FewChannels.Quantize(px, count, channels, count, input, pc, mask: 0);
        }
        Assert.All(codes[(channels * count)..], c => Assert.Equal(Untouched, c));
        return codes[..(channels * count)];
    }
}
