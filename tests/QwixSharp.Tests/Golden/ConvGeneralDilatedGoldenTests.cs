using System.Text.Json;
using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

[Trait("Category", "Golden")]
[Trait("Family", "conv_general_dilated")]
public class ConvGeneralDilatedGoldenTests
{
    private const string Family = "conv_general_dilated";

    public static IEnumerable<TheoryDataRow<string>> Cases() => GoldenFamily.Rows(Family);

    public static IEnumerable<TheoryDataRow<int>> Refusals() => GoldenFamily.Refusals(Family);

    [Theory]
    [MemberData(nameof(Cases))]
    public void Agrees(string name)
    {
        using var scope = NewDisposeScope();
        var family = GoldenFamily.Load(Family);
        var test = family.Case(name);
        var numbers = Numbers(test);
        Operand lhs = ProductGolden.Operand(family, test.GetProperty("lhs")), rhs = ProductGolden.Operand(family, test.GetProperty("rhs"));
        foreach (string side in new[] { "lhs", "rhs" })
            ProductGolden.AssertQuantizes(family, test, side, () => How(numbers, side, SpecOf(test, side)));
        ProductGolden.AssertAgrees(family, test, Convolve(lhs, rhs, test.GetProperty("args"), numbers));
    }

    /// <summary>
    /// The reference cannot convolve some types on its backend; ours can, and is checked against float64. A zero point of
    /// a type that has none is refused by both.
    /// </summary>
    [Theory]
    [MemberData(nameof(Refusals))]
    public void ComputesWhatTheReferenceCannot(int index)
    {
        using var scope = NewDisposeScope();
        var refused = GoldenFamily.Load(Family).Manifest.GetProperty("refused_by_reference")[index];
        if (IsAsymmetric(refused) && refused.TryGetProperty("lhs_qtype", out var lhsType) && !QType.Parse(lhsType.GetString()!).SupportsAsymmetric)
            Assert.Throws<ArgumentException>(() => ComputeAndCompare(refused));
        else
            ComputeAndCompare(refused);
    }

    private static bool IsAsymmetric(JsonElement refused) =>
        refused.TryGetProperty("calibration_method", out var method) && !CalibrationMethod.Parse(method.GetString()!).IsSymmetric;

    private static void ComputeAndCompare(JsonElement refused)
    {
        var numbers = Numbers(refused);
        long[] lengths = [9, 8, 5], windows = [3, 2, 3];
        Operand lhs = Side("lhs", "NC", [2, 4], lengths), rhs = Side("rhs", "OI", [7, 4], windows);
        int spatial = numbers.Lhs.Length - 2;
        long[] strides = [.. new long[] { 1, 2, 1 }.Take(spatial)];
        var expected = Qwix.ConvGeneralDilated(ProductGolden.Float64(lhs), ProductGolden.Float64(rhs), strides, "SAME", dimensionNumbers: numbers);
        GoldenValue.AssertClose(expected, Qwix.ConvGeneralDilated(lhs, rhs, strides, "SAME", dimensionNumbers: numbers), 1e-5);

        Operand Side(string side, string letters, long[] sizes, long[] spatialSizes)
        {
            string layout = side == "lhs" ? numbers.Lhs : numbers.Rhs;
            var values = randn([.. layout.Select((c, i) => letters.Contains(c) ? sizes[letters.IndexOf(c)] : spatialSizes["DHW".IndexOf(c) % 3])]);
            if (!refused.TryGetProperty(side + "_qtype", out var name) || name.GetString() is not { } qtype)
                return values;
            string calibration = side == "lhs" && refused.TryGetProperty("calibration_method", out var method) ? method.GetString()! : "absmax";
            return Quantizer.Quantize(values, How(numbers, side, new(QType.Parse(qtype), null, calibration)));
        }
    }

    private static Tensor Convolve(Operand lhs, Operand rhs, JsonElement args, ConvDimensionNumbers numbers) => Qwix.ConvGeneralDilated(
        lhs,
        rhs,
        Longs(args, "window_strides")!,
        Padding(args.GetProperty("padding")),
        Longs(args, "lhs_dilation"),
        Longs(args, "rhs_dilation"),
        numbers,
        args.TryGetProperty("feature_group_count", out var features) ? features.GetInt32() : 1,
        args.TryGetProperty("batch_group_count", out var batches) ? batches.GetInt32() : 1);

    private static ConvPadding Padding(JsonElement padding) => padding.ValueKind == JsonValueKind.String
        ? padding.GetString()!
        : ConvPadding.Explicit([.. padding.EnumerateArray().Select(p => (p[0].GetInt64(), p[1].GetInt64()))]);

    private static long[]? Longs(JsonElement args, string key) =>
        args.TryGetProperty(key, out var list) && list.ValueKind == JsonValueKind.Array ? [.. list.EnumerateArray().Select(e => e.GetInt64())] : null;

    private static ConvDimensionNumbers Numbers(JsonElement test)
    {
        var layouts = test.GetProperty("dimension_numbers");
        return (layouts[0].GetString()!, layouts[1].GetString()!, layouts[2].GetString()!);
    }

    /// <summary>The spec where the case has one; else the type in the file, with minmax where it has a zero point.</summary>
    private static ProductGolden.Spec SpecOf(JsonElement test, string side) =>
        ProductGolden.Spec.Read(test, side + "_spec") ?? new(
            QType.Parse(test.GetProperty(side).GetProperty("qtype").GetString()!),
            null,
            test.GetProperty(side).TryGetProperty("zero_point", out _) ? CalibrationMethod.MinMax() : CalibrationMethod.AbsMax());

    private static HowToQuantize How(ConvDimensionNumbers numbers, string side, ProductGolden.Spec spec) =>
        ConvGeneralOp.HowToQuantize(numbers, side == "lhs", spec.QType, spec.Tiling, spec.Calibration);
}
