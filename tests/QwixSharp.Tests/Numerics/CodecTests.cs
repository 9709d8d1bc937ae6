using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Numerics;

/// <summary>Numbers to codes and back, against libtorch's own casts where it has the type.</summary>
public class CodecTests
{
    /// <summary>TorchSharp's enum does not name libtorch's 8-bit floats.</summary>
    private static readonly Dictionary<string, ScalarType> TorchTypes = new()
    {
        ["float8_e5m2"] = (ScalarType)23,
        ["float8_e4m3fn"] = (ScalarType)24,
    };

    public static IEnumerable<TheoryDataRow<string>> Types() => QType.All.Select(t => new TheoryDataRow<string>(t.Name));

    public static IEnumerable<TheoryDataRow<string>> Integers() => QType.All.Where(t => t.Kind == QTypeKind.Integer && t.Bits > 1).Select(t => new TheoryDataRow<string>(t.Name));

    public static IEnumerable<TheoryDataRow<string>> Floats8() => TorchTypes.Keys.Select(n => new TheoryDataRow<string>(n));

    [Theory]
    [MemberData(nameof(Types))]
    public void EveryCodeSurvivesDecodingAndEncoding(string name)
    {
        using var scope = NewDisposeScope();
        var qtype = QType.Parse(name);
        var codes = AllCodes(qtype);
        foreach (var dtype in new[] { ScalarType.Float32, ScalarType.Float64 })
        {
            var values = Codec.Decode(codes, qtype, dtype);
            Assert.Equal(dtype, values.dtype);
            var finite = values.isfinite();
            var again = Codec.Encode(values, qtype);
            Assert.Equal(codes.dtype, again.dtype);
            Assert.Equal(Codec.CodeDtype(qtype), again.dtype);
            Assert.Equal(Bytes(codes[finite]), Bytes(again[finite]));
        }
    }

    /// <summary>Of the 256 patterns, e4m3fn has two that are not numbers, and e5m2 eight (its infinities are not used).</summary>
    [Theory]
    [InlineData("float8_e4m3fn", 2)]
    [InlineData("mxfp8", 2)]
    [InlineData("float8_e5m2", 8)]
    [InlineData("mxfp4", 0)]
    [InlineData("nvfp4", 0)]
    public void PatternsThatAreNotNumbers(string name, int count) =>
        Assert.Equal(count, Codec.DecodeTable(QType.Parse(name)).Count(float.IsNaN));

    [Theory]
    [MemberData(nameof(Floats8))]
    public void EveryPatternOfFp8MeansWhatItMeansToLibtorch(string name)
    {
        using var scope = NewDisposeScope();
        var patterns = zeros(256, dtype: TorchTypes[name]);
        patterns.bytes = Enumerable.Range(0, 256).Select(i => (byte)i).ToArray();
        var theirs = patterns.to(ScalarType.Float32);
        var ours = tensor(Codec.DecodeTable(QType.Parse(name)));
        var finite = ours.isfinite();
        Assert.Equal(Bytes(theirs[finite]), Bytes(ours[finite]));
    }

    /// <summary>Random bit patterns reach every exponent; each midpoint, and its neighbours on either side, reach every rounding decision.</summary>
    [Theory]
    [MemberData(nameof(Floats8))]
    public void RoundingToFp8IsThatOfLibtorch(string name)
    {
        using var scope = NewDisposeScope();
        var qtype = QType.Parse(name);
        float largest = qtype.FloatFormat!.MaxValue;
        var magnitudes = qtype.FloatFormat.Magnitudes;
        List<float> values = [0f, -0f, float.Epsilon, -float.Epsilon, largest, -largest];
        for (int i = 0; i + 1 < magnitudes.Length; i++)
        {
            float middle = (magnitudes[i] + magnitudes[i + 1]) / 2;
            values.AddRange([middle, -middle, float.BitIncrement(middle), -float.BitIncrement(middle), float.BitDecrement(middle), -float.BitDecrement(middle)]);
        }

        var random = new Random(7);
        for (int i = 0; i < 50_000; i++)
        {
            float value = BitConverter.Int32BitsToSingle(random.Next(int.MinValue, int.MaxValue));
            if (Math.Abs(value) <= largest)
                values.Add(value);
        }

        var x = tensor(values.ToArray());
        Assert.Equal(Bytes(x.to(TorchTypes[name])), Bytes(Codec.Encode(x, qtype)));
    }

    [Theory]
    [InlineData("float8_e4m3fn", 0x7E)]
    [InlineData("float8_e5m2", 0x7B)]
    [InlineData("mxfp4", 0x7)]
    public void FloatsSaturate(string name, int largestCode)
    {
        var qtype = QType.Parse(name);
        float largest = qtype.FloatFormat!.MaxValue;
        int sign = 1 << (qtype.Bits - 1);
        Assert.Equal([largestCode, largestCode, largestCode, largestCode | sign, largestCode | sign], Encode(qtype, largest * 1.01f, 1e30f, float.PositiveInfinity, -1e30f, float.NegativeInfinity));
    }

    [Fact]
    public void E2M1TiesGoToTheEvenCode()
    {
        Assert.Equal([0, 2, 2, 4, 4, 6, 6], Encode(QType.MxFp4, 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5f));
        Assert.Equal([8, 10, 10, 12, 12, 14, 14], Encode(QType.MxFp4, -0.25f, -0.75f, -1.25f, -1.75f, -2.5f, -3.5f, -5f));
    }

    [Fact]
    public void NegativeZeroKeepsItsSign()
    {
        Assert.Equal([0x80, 0x00], Encode(QType.Float8E4M3Fn, -0f, 0f));
        Assert.True(float.IsNegative(Codec.DecodeTable(QType.Float8E4M3Fn)[0x80]));
    }

    [Theory]
    [MemberData(nameof(Integers))]
    public void IntegersRoundTiesToEvenAndSaturate(string name)
    {
        var qtype = QType.Parse(name);
        Assert.Equal([0, 0, 0, 0], Encode(qtype, 0.5f, -0.5f, 0.49999997f, -0f));
        if (qtype.Bits > 2)
            Assert.Equal([2, 2, -2, -2, 1], Encode(qtype, 1.5f, 2.5f, -1.5f, -2.5f, 1.4999999f));
        int min = -(1 << (qtype.Bits - 1)), max = -min - 1;
        Assert.Equal([max, max, max, min, min, min], Encode(qtype, max + 0.5f, max + 100f, float.PositiveInfinity, min - 0.5f, min - 100f, float.NegativeInfinity));
        Assert.Equal([max, min], Encode(qtype, (float)qtype.SymmetricBound, -(float)qtype.SymmetricBound));
    }

    /// <summary>Neither bfloat16 nor float16 can hold every code: the bounds must not be rounded to them.</summary>
    [Theory]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Float16)]
    public void NarrowFloatsSaturateAtTheSameCodes(ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        var x = tensor(new float[] { 40000, -40000 }).to(dtype);
        Assert.Equal([32767, -32768], Numbers(Codec.Encode(x, QType.Int16)));
        Assert.Equal([127, -128], Numbers(Codec.Encode(x, QType.Int8)));
    }

    [Fact]
    public void BinaryCountsZeroAsOne() => Assert.Equal([1, 1, 1, -1, -1], Encode(QType.Int1, 0f, -0f, 3f, -1e-30f, -3f));

    [Fact]
    public void Nf4TakesTheNearestLevelAndTheLowerOnATie()
    {
        using var scope = NewDisposeScope();
        var levels = NormalFloat4.Levels;
        var x = linspace(-1.3, 1.3, 4001);
        var expected = (x.unsqueeze(-1) - tensor(levels)).abs().argmin(-1);
        Assert.Equal(Numbers(expected), Numbers(Codec.Encode(x, QType.NF4)));
        // The distances are taken in float32, where these are equal.
        float tie = levels[8] / 2;
        Assert.Equal([7, 8, 7], Encode(QType.NF4, tie, float.BitIncrement(tie), float.BitDecrement(tie)));
        Assert.Equal([0, 15, 0, 15], Encode(QType.NF4, -900f, 900f, -1.1f, 1.1f));
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void ShapesAreKept(string name)
    {
        using var scope = NewDisposeScope();
        var qtype = QType.Parse(name);
        foreach (var shape in new long[][] { [], [0], [3], [2, 3, 5], [4, 0, 2] })
        {
            var codes = Codec.Encode(zeros(shape), qtype);
            Assert.Equal(shape, codes.shape);
            Assert.Equal(shape, Codec.Decode(codes, qtype, ScalarType.BFloat16).shape);
        }
    }

    [Fact]
    public void NoiseShiftsBeforeRounding()
    {
        using var scope = NewDisposeScope();
        var x = tensor(new[] { 0.4f, 0.4f, 126.9f });
        Assert.Equal([0, 1, 127], Numbers(Codec.Encode(x, QType.Int8, tensor(new[] { 0f, 0.2f, 5f }))));
    }

    internal static Tensor AllCodes(QType qtype) => qtype.Kind switch
    {
        QTypeKind.Integer when qtype.Bits == 1 => tensor(new sbyte[] { -1, 1 }),
        QTypeKind.Integer => arange(-(1 << (qtype.Bits - 1)), 1 << (qtype.Bits - 1), ScalarType.Int32).to(Codec.CodeDtype(qtype)),
        _ => arange(1 << qtype.Bits, ScalarType.Int32).to(ScalarType.Byte),
    };

    private static long[] Encode(QType qtype, params float[] values)
    {
        using var scope = NewDisposeScope();
        return Numbers(Codec.Encode(tensor(values), qtype));
    }

    private static long[] Numbers(Tensor codes) => codes.to(ScalarType.Int64).data<long>().ToArray();

    private static byte[] Bytes(Tensor x) => x.contiguous().bytes.ToArray();
}
