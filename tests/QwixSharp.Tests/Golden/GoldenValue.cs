using System.Text.Json;
using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

/// <summary>Reads the values of a case, and compares them with ours by the rules of agreement.</summary>
internal static class GoldenValue
{
    public static Tensor Tensor(GoldenFamily family, JsonElement reference) =>
        family.Tensors.Read(reference.GetProperty("tensor").GetString()!).reshape(Shape(reference));

    public static long[] Shape(JsonElement reference) => ShapeOf(reference, "shape");

    public static long[] ShapeOf(JsonElement owner, string key) => [.. owner.GetProperty(key).EnumerateArray().Select(e => e.GetInt64())];

    /// <summary>A quantized value of a file as a QArray.</summary>
    public static QArray QArray(GoldenFamily family, JsonElement value)
    {
        var qtype = QType.Parse(value.GetProperty("qtype").GetString()!);
        var qvalue = Tensor(family, value.GetProperty("qvalue"));
        var zeroPoint = value.TryGetProperty("zero_point", out var z) ? Tensor(family, z) : null;
        return new QArray(qtype, qvalue.shape, CodePacking.Pack(qvalue, qtype), Tensor(family, value.GetProperty("scale")), zeroPoint);
    }

    /// <summary>The values of a group by path with dots.</summary>
    public static IEnumerable<(string Name, JsonElement Value)> Flatten(JsonElement group) =>
        group.EnumerateObject().Select(p => (p.Name.Replace("batch_stats/", "").Replace('/', '.'), p.Value));

    public static bool IsQuantized(JsonElement value) => value.TryGetProperty("qvalue", out _);

    /// <summary>Tile sizes by axis: integers are counts, other numbers fractions.</summary>
    public static Dictionary<int, TileSize> Tiles(JsonElement map) =>
        map.EnumerateObject().ToDictionary(p => int.Parse(p.Name), p => Tile(p.Value));

    /// <summary>A tile size as the file spells it: <c>32</c> is a count, <c>0.25</c> and <c>1.0</c> are fractions.</summary>
    public static TileSize Tile(JsonElement number) => number.GetRawText().Contains('.') ? new(number.GetDouble()) : new(number.GetInt64());

    /// <summary>Codes, scale and zero point equal bit for bit; for rms the scale within 2e-6 and few codes off by one.</summary>
    public static void AssertSame(QArray expected, QArray actual, bool rms)
    {
        Assert.Equal(expected.QType, actual.QType);
        Assert.Equal(expected.Shape.ToArray(), actual.Shape.ToArray());
        Assert.Equal(expected.Scale.shape, actual.Scale.shape);
        Assert.Equal(expected.Dtype, actual.Dtype);
        Assert.Equal(expected.ZeroPoint is null, actual.ZeroPoint is null);
        using var expectedCodes = expected.GetQValue();
        using var actualCodes = actual.GetQValue();
        if (rms)
        {
            AssertClose(expected.Scale, actual.Scale, 2e-6);
            using var difference = (expectedCodes.to(ScalarType.Int32) - actualCodes.to(ScalarType.Int32)).abs();
            Assert.True(difference.max().item<int>() <= 1, "codes differ by more than 1");
            Assert.True(difference.ne(0).sum().item<long>() <= Math.Max(1, 0.005 * difference.NumberOfElements), "more than 0.5% of the codes differ");
            return;
        }

        AssertBits("scale", expected.Scale, actual.Scale);
        AssertBits("codes", expectedCodes, actualCodes);
        if (expected.ZeroPoint is not null)
            AssertBits("zero point", expected.ZeroPoint, actual.ZeroPoint!);
    }

    public static void AssertBits(string what, Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.dtype, actual.dtype);
        Assert.Equal(expected.shape, actual.shape);
        using var a = expected.contiguous();
        using var b = actual.contiguous();
        if (a.bytes.SequenceEqual(b.bytes))
            return;
        using var different = a.ne(b);
        long count = different.sum().item<long>();
        // NaN has many bit patterns, and a reference NaN may carry another sign.
        if (a.is_floating_point() && a.isnan().eq(b.isnan()).all().item<bool>() && a.nan_to_num().eq(b.nan_to_num()).all().item<bool>())
            return;
        var where = different.nonzero();
        string at = count > 0 ? string.Join(", ", where[0].data<long>().ToArray()) : "bits only";
        Assert.Fail($"{what}: {count} of {a.NumberOfElements} differ; first at [{at}]: {First(a, different)} expected, {First(b, different)} found");
    }

    /// <summary>Largest difference at most a fraction of the largest magnitude expected.</summary>
    public static void AssertClose(Tensor expected, Tensor actual, double tolerance)
    {
        Assert.Equal(expected.shape, actual.shape);
        using var a = expected.to(ScalarType.Float64);
        using var b = actual.to(ScalarType.Float64);
        double difference = (a - b).abs().max().item<double>(), largest = a.abs().max().item<double>();
        Assert.True(difference <= tolerance * largest, $"differs by {difference:g3}, {difference / largest:g3} of the largest magnitude; {tolerance:g3} is allowed");
    }

    /// <summary>10·log10(Σ expected² ÷ Σ (actual − expected)²).</summary>
    public static double Snr(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.shape, actual.shape);
        using var a = expected.to(ScalarType.Float64);
        using var b = actual.to(ScalarType.Float64);
        double noise = (a - b).square().sum().item<double>();
        return noise == 0 ? double.PositiveInfinity : 10 * Math.Log10(a.square().sum().item<double>() / noise);
    }

    private static string First(Tensor values, Tensor mask) =>
        mask.any().item<bool>() ? values.masked_select(mask)[0].to(ScalarType.Float64).item<double>().ToString("r") : "equal";
}
