using static TorchSharp.torch;

namespace QwixSharp.Providers.Models;

/// <summary>How an op sees a parameter: as it is, with its axes in another order, or through a chain of other views.</summary>
/// <param name="Name">The dotted path of the parameter.</param>
/// <param name="Parameter">The parameter itself.</param>
/// <param name="View">The chain of views as text; empty for the parameter as it is or with its axes in another order.</param>
/// <param name="Apply">Makes the view of a tensor of the parameter's shape; null where there is no chain.</param>
/// <param name="Permutation">The parameter's axis for each axis of the view; null where they are the same, or where there is a chain.</param>
internal sealed record WeightUse(string Name, Tensor Parameter, string View, Func<Tensor, Tensor>? Apply, int[]? Permutation)
{
    /// <summary>The name of the quantized array that serves this use.</summary>
    internal string ArrayName => Name + View;

    /// <summary>The parameter's axis for an axis of the view.</summary>
    internal int RootAxis(int axis) => Permutation is null ? axis : Permutation[axis];

    internal IReadOnlyList<int> RootAxes(IReadOnlyList<int> axes) => Permutation is null ? axes : [.. axes.Select(RootAxis)];

    /// <summary>What the op sees of a tensor of the parameter's shape.</summary>
    internal Tensor See(Tensor stored) => Apply is not null ? Apply(stored) : Permutation is not null ? stored.t() : stored;

    /// <summary>
    /// The use seen through another permutation. Of more than two axes it is a view like any other, since the free axes of
    /// a product would come in another order.
    /// </summary>
    internal WeightUse Permuted(int[] permutation)
    {
        if (permutation.Length > 2)
            return Viewed($".permute({string.Join(",", permutation)})", t => t.permute([.. permutation.Select(a => (long)a)]));
        int[] composed = [.. permutation.Select(RootAxis)];
        return this with { Permutation = composed.Select((axis, i) => axis == i).All(same => same) ? null : composed };
    }

    /// <summary>The use seen through a view that is not a plain permutation.</summary>
    /// <param name="view">The view as text.</param>
    /// <param name="apply">Makes the view.</param>
    internal WeightUse Viewed(string view, Func<Tensor, Tensor> apply)
    {
        if (Permutation is null)
            return this with { View = View + view, Apply = Apply is { } before ? t => apply(before(t)) : apply };
        // Only a parameter as it is, or a matrix transposed, has a permutation.
        return this with { View = ".t()" + view, Apply = t => apply(t.t()), Permutation = null };
    }
}
