using QwixSharp.Arrays;

namespace QwixSharp.Ops;

/// <summary>
/// Which axes of two arrays a product contracts and which it runs over in step (batch axes); all other axes are free.
/// The result is [batch…, free axes of lhs…, free axes of rhs…].
/// </summary>
/// <param name="LhsContracting">The axes of lhs to contract; negative counts from the end.</param>
/// <param name="RhsContracting">The axes of rhs they are contracted with, in the same order.</param>
/// <param name="LhsBatch">The batch axes of lhs.</param>
/// <param name="RhsBatch">The batch axes of rhs, in the same order.</param>
public sealed record DotDimensionNumbers(
    IReadOnlyList<int> LhsContracting,
    IReadOnlyList<int> RhsContracting,
    IReadOnlyList<int> LhsBatch,
    IReadOnlyList<int> RhsBatch)
{
    /// <summary>Dimension numbers without batch axes.</summary>
    /// <param name="lhsContracting">The axes of lhs to contract.</param>
    /// <param name="rhsContracting">The axes of rhs they are contracted with.</param>
    public DotDimensionNumbers(IReadOnlyList<int> lhsContracting, IReadOnlyList<int> rhsContracting)
        : this(lhsContracting, rhsContracting, [], [])
    {
    }

    /// <summary>The contracting and batch axes.</summary>
    /// <returns>Text such as <c>lhs (contracting [2], batch [0]), rhs (contracting [1], batch [0])</c>.</returns>
    public override string ToString() =>
        $"lhs (contracting [{string.Join(", ", LhsContracting)}], batch [{string.Join(", ", LhsBatch)}]), " +
        $"rhs (contracting [{string.Join(", ", RhsContracting)}], batch [{string.Join(", ", RhsBatch)}])";

    /// <summary>The axes of one side, sorted into groups.</summary>
    /// <exception cref="ArgumentException">An axis does not exist or is named twice.</exception>
    internal AxisGroups Groups(bool forLhs, int rank)
    {
        var (contracting, batch) = forLhs ? (LhsContracting, LhsBatch) : (RhsContracting, RhsBatch);
        string side = forLhs ? "lhs" : "rhs";
        int[] contractingAxes = [.. contracting.Select(Normalize)], batchAxes = [.. batch.Select(Normalize)];
        if (contractingAxes.Concat(batchAxes).Distinct().Count() != contractingAxes.Length + batchAxes.Length)
            throw new ArgumentException($"An axis of {side} is named twice in the dimension numbers {this}.");
        int[] free = [.. Enumerable.Range(0, rank).Except(contractingAxes).Except(batchAxes)];
        return new AxisGroups(batchAxes, free, contractingAxes);

        int Normalize(int axis) => axis >= -rank && axis < rank
            ? (axis + rank) % rank
            : throw new ArgumentException($"{side} has {rank} axes, but the dimension numbers name axis {axis}: {this}.");
    }

    /// <summary>The axes of both sides, checked against their shapes.</summary>
    /// <exception cref="ArgumentException">The dimension numbers do not fit the shapes.</exception>
    internal (AxisGroups Lhs, AxisGroups Rhs) Resolve(ReadOnlySpan<long> lhsShape, ReadOnlySpan<long> rhsShape)
    {
        if (LhsContracting.Count != RhsContracting.Count || LhsBatch.Count != RhsBatch.Count)
            throw new ArgumentException($"Both sides of a product need as many contracting and as many batch axes: {this}.");
        var lhs = Groups(forLhs: true, lhsShape.Length);
        var rhs = Groups(forLhs: false, rhsShape.Length);
        foreach (var (l, r) in lhs.Contracting.Zip(rhs.Contracting).Concat(lhs.Batch.Zip(rhs.Batch)))
        {
            if (lhsShape[l] != rhsShape[r])
                throw new ArgumentException($"Axis {l} of lhs {HowToQuantize.Format(lhsShape)} and axis {r} of rhs {HowToQuantize.Format(rhsShape)} differ in length: {this}.");
        }

        return (lhs, rhs);
    }
}

/// <summary>The axes of one side of a product by what the product does with them.</summary>
internal sealed record AxisGroups(int[] Batch, int[] Free, int[] Contracting)
{
    /// <summary>All axes in the canonical order: batch, free, contracting.</summary>
    internal long[] Order => [.. Batch.Concat(Free).Concat(Contracting).Select(a => (long)a)];

    /// <summary>Whether the axes lie in the canonical order already.</summary>
    internal bool InOrder => Order.Select((axis, i) => axis == i).All(same => same);
}
