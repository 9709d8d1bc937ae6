using System.Text.Json;
using QwixSharp.Arrays;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

/// <summary>The family <c>dot_general</c>, and <c>microscaled</c>, which has its form.</summary>
internal static class DotGeneralGoldenCases
{
    public static void AssertAgrees(string familyName, string name)
    {
        using var scope = NewDisposeScope();
        var family = GoldenFamily.Load(familyName);
        var test = family.Case(name);
        var numbers = Numbers(test.GetProperty("dimension_numbers"));
        Operand lhs = ProductGolden.Operand(family, test.GetProperty("lhs")), rhs = ProductGolden.Operand(family, test.GetProperty("rhs"));
        foreach (string side in new[] { "lhs", "rhs" })
            ProductGolden.AssertQuantizes(family, test, side, () => How(numbers, lhs.Rank, rhs.Rank, side, ProductGolden.Spec.Read(test, side + "_spec")!));
        ProductGolden.AssertAgrees(family, test, Qwix.DotGeneral(lhs, rhs, numbers));
    }

    public static void AssertRefuses(string familyName, int index)
    {
        using var scope = NewDisposeScope();
        var refused = GoldenFamily.Load(familyName).Manifest.GetProperty("refused_by_reference")[index];
        var terms = refused.GetProperty("shape_note").GetString()!.Split(',');
        var numbers = NumbersOf(terms[0], terms[1]);
        Assert.Throws<ArgumentException>(() => Qwix.DotGeneral(Side("lhs"), Side("rhs"), numbers));

        Operand Side(string side) => ProductGolden.RandomOperand(refused, side, spec => How(numbers, terms[0].Length, terms[1].Length, side, spec));
    }

    private static HowToQuantize How(DotDimensionNumbers numbers, int lhsRank, int rhsRank, string side, ProductGolden.Spec spec) =>
        DotGeneralOp.HowToQuantize(numbers, lhsRank, rhsRank, side == "lhs", spec.QType, spec.Tiling, spec.Calibration);

    /// <summary>JAX's form: ((lhs contracting, rhs contracting), (lhs batch, rhs batch)).</summary>
    private static DotDimensionNumbers Numbers(JsonElement numbers)
    {
        return new(Axes(0, 0), Axes(0, 1), Axes(1, 0), Axes(1, 1));

        int[] Axes(int kind, int side) => [.. numbers[kind][side].EnumerateArray().Select(e => e.GetInt32())];
    }

    /// <summary>From letters: those that lead both sides in the same places are batch axes, other common ones are contracted.</summary>
    private static DotDimensionNumbers NumbersOf(string lhs, string rhs)
    {
        int batch = lhs.Zip(rhs).TakeWhile(pair => pair.First == pair.Second).Count();
        string contracted = string.Concat(lhs.Skip(batch).Where(rhs.Contains));
        int[] leading = [.. Enumerable.Range(0, batch)];
        return new([.. contracted.Select(c => lhs.IndexOf(c))], [.. contracted.Select(c => rhs.IndexOf(c))], leading, leading);
    }
}

[Trait("Category", "Golden")]
[Trait("Family", "dot_general")]
public class DotGeneralGoldenTests
{
    private const string Family = "dot_general";

    public static IEnumerable<TheoryDataRow<string>> Cases() => GoldenFamily.Rows(Family);

    public static IEnumerable<TheoryDataRow<int>> Refusals() => GoldenFamily.Refusals(Family);

    [Theory]
    [MemberData(nameof(Cases))]
    public void Agrees(string name) => DotGeneralGoldenCases.AssertAgrees(Family, name);

    [Theory]
    [MemberData(nameof(Refusals))]
    public void RefusesWhatTheReferenceRefuses(int index) => DotGeneralGoldenCases.AssertRefuses(Family, index);
}

[Trait("Category", "Golden")]
[Trait("Family", "microscaled")]
public class MicroscaledGoldenTests
{
    private const string Family = "microscaled";

    public static IEnumerable<TheoryDataRow<string>> Cases() => GoldenFamily.Rows(Family);

    public static IEnumerable<TheoryDataRow<int>> Refusals() => GoldenFamily.Refusals(Family);

    [Theory]
    [MemberData(nameof(Cases))]
    public void Agrees(string name) => DotGeneralGoldenCases.AssertAgrees(Family, name);

    [Theory]
    [MemberData(nameof(Refusals))]
    public void RefusesWhatTheReferenceRefuses(int index) => DotGeneralGoldenCases.AssertRefuses(Family, index);
}
