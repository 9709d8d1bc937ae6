using System.Text.Json;
using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

/// <summary>What the families of products share: operands, how they are quantized, and when results agree.</summary>
internal static class ProductGolden
{
    /// <summary>How one side is to be quantized, as <c>lhs_spec</c> and <c>rhs_spec</c> say it.</summary>
    public sealed record Spec(QType QType, Tiling? Tiling, CalibrationMethod Calibration)
    {
        /// <summary>The spec of one side, or null where it is not quantized.</summary>
        public static Spec? Read(JsonElement test, string key)
        {
            if (!test.TryGetProperty(key, out var spec) || spec.ValueKind == JsonValueKind.Null)
                return null;
            Tiling? tiling = null;
            if (spec.TryGetProperty("tile_size", out var tile) && tile.ValueKind != JsonValueKind.Null)
                tiling = tile.ValueKind == JsonValueKind.Object ? GoldenValue.Tiles(tile) : GoldenValue.Tile(tile);
            return new Spec(QType.Parse(spec.GetProperty("qtype").GetString()!), tiling, CalibrationOf(spec));
        }

        private static CalibrationMethod CalibrationOf(JsonElement spec) =>
            (spec.TryGetProperty("method", out var method) || spec.TryGetProperty("calibration_method", out method) ? method.GetString() : null)
            ?? CalibrationMethod.AbsMax();
    }

    public static Operand Operand(GoldenFamily family, JsonElement value) => GoldenValue.IsQuantized(value)
        ? GoldenValue.QArray(family, value)
        : GoldenValue.Tensor(family, value.GetProperty("array"));

    /// <summary>Quantizes the floating-point form of a side, and compares it with the side in the file.</summary>
    public static void AssertQuantizes(GoldenFamily family, JsonElement test, string side, Func<HowToQuantize> how)
    {
        var expected = test.GetProperty(side);
        if (!GoldenValue.IsQuantized(expected) || !test.TryGetProperty(side + "_fp", out var floating))
            return;
        var chosen = how();
        using var actual = Quantizer.Quantize(GoldenValue.Tensor(family, floating), chosen);
        GoldenValue.AssertSame(GoldenValue.QArray(family, expected), actual, chosen.Calibration.Kind == CalibrationKind.Rms);
    }

    /// <summary>The result has the dtype of the file, and its values within the tolerance of products.</summary>
    public static void AssertAgrees(GoldenFamily family, JsonElement test, Tensor actual)
    {
        var expected = GoldenValue.Tensor(family, test.GetProperty("result"));
        Assert.Equal(expected.dtype, actual.dtype);
        double tolerance = Tolerance(expected.dtype);
        Record(family.Name, expected, actual);
        GoldenValue.AssertClose(expected, actual, tolerance);
    }

    public static double Tolerance(ScalarType result) => result is ScalarType.BFloat16 or ScalarType.Float16 ? 1e-2 : 1e-5;

    /// <summary>Random values in the shape that a refusal names, quantized as it says where it says so.</summary>
    public static Operand RandomOperand(JsonElement refused, string side, Func<Spec, HowToQuantize> how)
    {
        var values = randn(GoldenValue.ShapeOf(refused, side + "_shape"));
        return Spec.Read(refused, side + "_spec") is { } spec ? Quantizer.Quantize(values, how(spec)) : values;
    }

    public static Tensor Float64(Operand operand) => operand.Dequantize().to(ScalarType.Float64);

    private static void Record(string family, Tensor expected, Tensor actual)
    {
        double largest = expected.to(ScalarType.Float64).abs().max().item<double>();
        double difference = (expected.to(ScalarType.Float64) - actual.to(ScalarType.Float64)).abs().max().item<double>();
        TestContext.Current.TestOutputHelper?.WriteLine($"{family} {expected.dtype} relative error {difference / largest:g3}");
    }
}
