using System.Runtime.InteropServices;
using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Tests.Golden;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Arrays;

/// <summary>The pass over bfloat16 gives what tensor arithmetic gives, bit for bit.</summary>
public class BFloat16QuantizationTests
{
    public static TheoryData<string, int, int> Cases
    {
        get
        {
            var cases = new TheoryData<string, int, int>();
            foreach (var qtype in new[] { "int2", "int3", "int4", "int5", "int8" })
            {
                foreach (var (columns, tile) in new[] { (1, 1), (7, 7), (32, 32), (96, 32), (96, 24), (130, 13), (200, 200) })
                    cases.Add(qtype, columns, tile);
            }

            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void CodesAndScalesAreThoseOfTensorArithmetic(string qtype, int columns, int tile)
    {
        using var scope = NewDisposeScope();
        var values = randn(9, columns) * pow(10.0, randn(9, 1));
        values[0] = 0;
        values[1] = 1e-30;
        values[2] = -3e38;
        // Halves of a scale: ties, on which the intermediate rounding shows.
        values[3] = arange(columns) * 0.5;
        AssertSame(values.to(ScalarType.BFloat16), qtype, tile);
    }

    [Fact]
    public void EveryBFloat16IsQuantizedAlike()
    {
        using var scope = NewDisposeScope();
        // All finite bit patterns, tiles of neighbours, among which the largest is never far.
        var all = empty(0x7F80, dtype: ScalarType.BFloat16);
        MemoryMarshal.AsBytes<ushort>([.. Enumerable.Range(0, 0x7F80).Select(i => (ushort)i)]).CopyTo(all.bytes);
        AssertSame(cat([all, -all]).reshape(2, -1), "int8", 32);
        AssertSame(cat([all, -all]).flip(0).reshape(2, -1), "int4", 32);
    }

    [Fact]
    public void AValueThatIsNotANumberShowsInItsScale()
    {
        using var scope = NewDisposeScope();
        foreach (float value in new[] { float.NaN, float.PositiveInfinity, float.NegativeInfinity })
        {
            var values = ones(4, 64, dtype: ScalarType.BFloat16);
            values[2, 40] = value;
            var scale = BFloat16Quantization.TryQuantize(values, How("int8", 32), 1)!.Scale;
            Assert.Equal([true, true, true, true, true, false, true, true], scale.isfinite().reshape(-1).data<bool>().ToArray());
        }
    }

    private static void AssertSame(Tensor values, string qtype, int tile)
    {
        var how = How(qtype, tile);
        var fast = BFloat16Quantization.TryQuantize(values, how, 2);
        Assert.NotNull(fast);
        var (scale, zeroPoint) = Calibrator.ComputeScaleZeroPoint(Calibrator.Calibrate(values, how), how.QType);
        var general = Quantizer.Quantize(values, how.QType, scale, zeroPoint);
        GoldenValue.AssertBits("scale", general.Scale, fast.Scale);
        GoldenValue.AssertBits("codes", general.Codes, fast.Codes);
    }

    private static HowToQuantize How(string qtype, int tile) =>
        new() { QType = QType.Parse(qtype), ChannelwiseAxes = [0], TiledAxes = new Dictionary<int, TileSize> { [1] = tile } };
}
