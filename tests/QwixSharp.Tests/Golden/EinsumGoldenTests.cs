using System.Text.Json;
using QwixSharp.Arrays;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

[Trait("Category", "Golden")]
[Trait("Family", "einsum")]
public class EinsumGoldenTests
{
    private const string Family = "einsum";

    public static IEnumerable<TheoryDataRow<string>> Cases() => GoldenFamily.Rows(Family);

    public static IEnumerable<TheoryDataRow<int>> Refusals() => GoldenFamily.Refusals(Family);

    [Theory]
    [MemberData(nameof(Cases))]
    public void Agrees(string name)
    {
        using var scope = NewDisposeScope();
        var family = GoldenFamily.Load(Family);
        var test = family.Case(name);
        string equation = test.GetProperty("equation").GetString()!;
        var operands = Operands(family, test);
        foreach (string side in new[] { "lhs", "rhs" }.Where(side => test.TryGetProperty(side + "_spec", out _)))
            ProductGolden.AssertQuantizes(family, test, side, () => How(equation, operands[0].Rank, operands[1].Rank, side, ProductGolden.Spec.Read(test, side + "_spec")!));
        var actual = Qwix.Einsum(equation, operands);
        var expected = GoldenValue.Tensor(family, test.GetProperty("result"));
        if (EinsumEquation.Parse(equation, [.. operands.Select(o => o.Rank)]).Output == "" && expected.dim() > 0)
            AssertSumAgrees(expected, actual);
        else
            ProductGolden.AssertAgrees(family, test, actual);
    }

    [Theory]
    [MemberData(nameof(Refusals))]
    public void RefusesTilesThatDoNotDivideAndComputesTheRest(int index)
    {
        using var scope = NewDisposeScope();
        var refused = GoldenFamily.Load(Family).Manifest.GetProperty("refused_by_reference")[index];
        string equation = refused.GetProperty("equation").GetString()!;
        int lhsRank = refused.GetProperty("lhs_shape").GetArrayLength(), rhsRank = refused.GetProperty("rhs_shape").GetArrayLength();
        if (refused.GetProperty("error").GetString() == "ValueError")
        {
            Assert.Throws<ArgumentException>(() => Qwix.Einsum(equation, Side("lhs"), Side("rhs")));
            return;
        }

        Operand lhs = Side("lhs"), rhs = Side("rhs");
        var expected = einsum(equation, ProductGolden.Float64(lhs), ProductGolden.Float64(rhs));
        GoldenValue.AssertClose(expected, Qwix.Einsum(equation, lhs, rhs), 1e-5);

        Operand Side(string side) => ProductGolden.RandomOperand(refused, side, spec => How(equation, lhsRank, rhsRank, side, spec));
    }

    private static Operand[] Operands(GoldenFamily family, JsonElement test) => test.TryGetProperty("operands", out var list)
        ? [.. list.EnumerateArray().Select(o => ProductGolden.Operand(family, o))]
        : [ProductGolden.Operand(family, test.GetProperty("lhs")), ProductGolden.Operand(family, test.GetProperty("rhs"))];

    private static HowToQuantize How(string equation, int lhsRank, int rhsRank, string side, ProductGolden.Spec spec) =>
        EinsumOp.HowToQuantize(equation, lhsRank, rhsRank, side == "lhs", spec.QType, spec.Tiling, spec.Calibration);

    /// <summary>
    /// Where an equation's output is a scalar, the reference forgets to sum the indices that one operand alone has: it
    /// returns a matrix for <c>ij,jk-></c>. Ours is the scalar that the equation means, so its sum is what must agree.
    /// </summary>
    private static void AssertSumAgrees(Tensor expected, Tensor actual)
    {
        Assert.Equal(0, actual.dim());
        var values = expected.to(ScalarType.Float64);
        double difference = Math.Abs(values.sum().item<double>() - actual.to(ScalarType.Float64).item<double>());
        double largest = values.abs().sum().item<double>();
        Assert.True(difference <= ProductGolden.Tolerance(expected.dtype) * largest, $"the sum differs by {difference:g3}");
    }
}
