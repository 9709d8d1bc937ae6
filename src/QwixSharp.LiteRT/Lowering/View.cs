using QwixSharp.LiteRT.Graphs;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>
/// A tensor as the model sees it, kept in a tensor of the file whose axes may come in another order: images are channels
/// first here and channels last there. Axis i of the permuted tensor is axis <c>Order[i]</c> of the file's; where
/// <see cref="Shape"/> is not the permuted shape, a reshape follows that has not been carried out yet.
/// </summary>
/// <param name="Tensor">The tensor of the file.</param>
/// <param name="Order">For each axis of the permuted tensor, the axis of the file's tensor.</param>
/// <param name="Shape">The shape that the model sees.</param>
internal readonly record struct View(GraphTensor Tensor, int[] Order, int[] Shape)
{
    /// <summary>A tensor that is kept as the model sees it.</summary>
    internal View(GraphTensor tensor) : this(tensor, [.. Enumerable.Range(0, tensor.Rank)], tensor.Shape) { }

    internal int Rank => Shape.Length;

    internal LiteRtType Type => Tensor.Type;

    internal bool IsConstant => Tensor.IsConstant;

    /// <summary>The shape before the pending reshape.</summary>
    internal int[] Permuted
    {
        get
        {
            var shape = Tensor.Shape;
            return Array.ConvertAll(Order, axis => shape[axis]);
        }
    }

    internal bool IsReshaped => !Permuted.SequenceEqual(Shape);

    internal bool InOrder(int[] order) => !IsReshaped && Order.SequenceEqual(order);
}

/// <summary>Arithmetic of axes.</summary>
internal static class Axes
{
    internal static int[] Identity(int rank) => [.. Enumerable.Range(0, rank)];

    internal static int[] Inverse(int[] permutation)
    {
        var inverse = new int[permutation.Length];
        for (int i = 0; i < permutation.Length; i++)
            inverse[permutation[i]] = i;
        return inverse;
    }

    internal static int[] Pick(int[] values, IEnumerable<int> indices) => [.. indices.Select(i => values[i])];

    /// <summary>A possibly negative axis number as one from 0.</summary>
    internal static int Normal(long axis, int rank) => (int)(axis < 0 ? axis + rank : axis);

    /// <summary>Whether a permutation leaves the order of all axes that are not of size one.</summary>
    internal static bool MovesNothing(int[] shape, int[] permutation)
    {
        int last = -1;
        foreach (int axis in permutation.Where(a => shape[a] != 1))
        {
            if (axis < last)
                return false;
            last = axis;
        }

        return true;
    }

    /// <summary>
    /// The smallest groups of axes of two shapes that hold the same elements: a reshape splits and merges axes within each.
    /// </summary>
    internal static List<(int[] From, int[] To)> Groups(int[] from, int[] to)
    {
        List<(List<int> From, List<int> To)> groups = [];
        int i = 0, j = 0;
        while (i < from.Length && j < to.Length)
        {
            var group = (From: new List<int> { i }, To: new List<int> { j });
            long left = from[i++], right = to[j++];
            while (left != right)
            {
                if (left < right)
                {
                    left *= from[i];
                    group.From.Add(i++);
                }
                else
                {
                    right *= to[j];
                    group.To.Add(j++);
                }
            }

            groups.Add(group);
        }

        if (groups.Count == 0)
            groups.Add(([], []));
        groups[^1].From.AddRange(Enumerable.Range(i, from.Length - i)); // of size one
        groups[^1].To.AddRange(Enumerable.Range(j, to.Length - j));
        return [.. groups.Select(g => (g.From.ToArray(), g.To.ToArray()))];
    }
}
