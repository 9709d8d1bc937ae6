using CsCheck;
using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops;

/// <summary>Any product of any operands is that of the dequantized operands in float64.</summary>
public class DotGeneralPropertyTests
{
    private static readonly long[] ContractingLengths = [1, 3, 32, 256];

    private static readonly QType?[] Types = [null, .. QType.All];

    private static readonly Gen<Side> Sides = Gen.Select(
        Gen.Int[0, Types.Length - 1], Gen.Int[0, 2], Gen.Bool, Gen.Int[1, 9999], (type, tile, asymmetric, seed) => new Side(Types[type], tile, asymmetric, seed));

    private static readonly Gen<Shapes> AnyShapes = Gen.Select(
        Gen.Long[1, 3].Array[0, 2], Gen.Int[0, 3].Select(i => ContractingLengths[i]).Array[0, 2], Gen.Long[1, 5].Array[0, 2], Gen.Long[1, 5].Array[0, 2], Gen.Int[1, 9999],
        (batch, contracting, left, right, order) => new Shapes(batch, contracting, left, right, order));

    private sealed record Side(QType? QType, int Tile, bool Asymmetric, int Seed);

    private sealed record Shapes(long[] Batch, long[] Contracting, long[] LhsFree, long[] RhsFree, int Order);

    [Fact]
    public void EqualsTheProductOfDequantizedOperands() => Gen.Select(AnyShapes, Sides, Sides).Sample(
        (shapes, left, right) =>
        {
            using var scope = NewDisposeScope();
            string batch = "abcd"[..shapes.Batch.Length], contracting = "klmn"[..shapes.Contracting.Length];
            string lhsLetters = Shuffle(batch + contracting + "pqr"[..shapes.LhsFree.Length], shapes.Order);
            string rhsLetters = Shuffle(batch + contracting + "uvw"[..shapes.RhsFree.Length], shapes.Order + 1);
            var numbers = new DotDimensionNumbers(Axes(lhsLetters, contracting), Axes(rhsLetters, contracting), Axes(lhsLetters, batch), Axes(rhsLetters, batch));
            Operand lhs = Make(left, lhsLetters, shapes, numbers, forLhs: true, mayBeAsymmetric: true);
            Operand rhs = Make(right, rhsLetters, shapes, numbers, forLhs: false, mayBeAsymmetric: lhs.QArray?.ZeroPoint is null);
            string output = batch + string.Concat(lhsLetters.Where("pqr".Contains)) + string.Concat(rhsLetters.Where("uvw".Contains));
            string equation = $"{lhsLetters},{rhsLetters}->{output}";
            Tensor x = lhs.Float64(), y = rhs.Float64();

            var actual = Qwix.DotGeneral(lhs, rhs, numbers);

            Assert.Equal(ScalarType.Float32, actual.dtype);
            ProductChecks.AssertClose(einsum(equation, x, y), einsum(equation, x.abs(), y.abs()), actual);
        },
        iter: 300, threads: 1);

    private static Operand Make(Side side, string letters, Shapes shapes, DotDimensionNumbers numbers, bool forLhs, bool mayBeAsymmetric)
    {
        long[] shape = [.. letters.Select(Length)];
        var values = ProductChecks.Random(side.Seed, shape);
        var contracting = forLhs ? numbers.LhsContracting : numbers.RhsContracting;
        if (side.QType is not { } qtype || shape.Length == 0)
            return values;
        long last = contracting.Count == 0 ? 0 : shape[contracting[^1]];
        if (qtype.RequiredTileSize is { } required && (last == 0 || last % required != 0))
            return values;
        Tiling? tiling = qtype.RequiredTileSize ?? (side.Tile, last) switch
        {
            (1, 256) => 128,
            (2, >= 32) => 16,
            (1, > 0) => 1.0,
            _ => (Tiling?)null,
        };
        bool asymmetric = side.Asymmetric && mayBeAsymmetric && qtype.SupportsAsymmetric;
        var how = DotGeneralOp.HowToQuantize(numbers, letters.Length, letters.Length, forLhs, qtype, tiling, asymmetric ? "minmax" : "absmax");
        return Quantizer.Quantize(values, how);

        long Length(char letter) =>
            "abcd".Contains(letter) ? shapes.Batch["abcd".IndexOf(letter)]
            : "klmn".Contains(letter) ? shapes.Contracting["klmn".IndexOf(letter)]
            : "pqr".Contains(letter) ? shapes.LhsFree["pqr".IndexOf(letter)]
            : shapes.RhsFree["uvw".IndexOf(letter)];
    }

    private static int[] Axes(string letters, string named) => [.. named.Select(c => letters.IndexOf(c))];

    private static string Shuffle(string letters, int seed)
    {
        char[] shuffled = letters.ToCharArray();
        new Random(seed).Shuffle(shuffled);
        return new string(shuffled);
    }
}
