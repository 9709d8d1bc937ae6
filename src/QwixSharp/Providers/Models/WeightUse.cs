using static TorchSharp.torch;

namespace QwixSharp.Providers.Models;

/// <summary>How an op sees a parameter: as it is, with its axes in another order, or through a chain of other views.</summary>
/// <param name="Name">The dotted path of the parameter.</param>
/// <param name="Parameter">The parameter itself.</param>
/// <param name="View">The chain of views as text; empty for the parameter as it is or with its axes in another order.</param>
/// <param name="Permutation">The parameter's axis for each axis of the view; null where they are the same, or where there is a chain.</param>
internal sealed record WeightUse(string Name, Tensor Parameter, string View, int[]? Permutation)
{
    /// <summary>The name of the quantized array that serves this use.</summary>
    internal string ArrayName => Name + View;

    /// <summary>The parameter's axis for an axis of the view.</summary>
    internal int RootAxis(int axis) => Permutation is null ? axis : Permutation[axis];

    internal IReadOnlyList<int> RootAxes(IReadOnlyList<int> axes) => Permutation is null ? axes : [.. axes.Select(RootAxis)];

    /// <summary>The use seen through another permutation.</summary>
    internal WeightUse Permuted(int[] permutation)
    {
        int[] composed = [.. permutation.Select(RootAxis)];
        return this with { Permutation = composed.Select((axis, i) => axis == i).All(same => same) ? null : composed };
    }

    /// <summary>The use seen through a view that is not a permutation.</summary>
    internal WeightUse Viewed(string view) =>
        this with { View = View + (Permutation is null ? "" : $".permute({string.Join(",", Permutation)})") + view, Permutation = null };
}
