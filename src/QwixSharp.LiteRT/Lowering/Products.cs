using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Linear layers, matrix products and Einstein sums.</summary>
internal static class Products
{
    internal static readonly Dictionary<string, LowerOp> Ops = new()
    {
        ["linear"] = Linear,
        ["matmul"] = n => [MatMul(n.Builder, n.Input(0), n.Input(1), n.Shape)],
        ["mm"] = n => [MatMul(n.Builder, n.Input(0), n.Input(1), n.Shape)],
        ["bmm"] = n => [MatMul(n.Builder, n.Input(0), n.Input(1), n.Shape)],
        ["mv"] = n => [MatMul(n.Builder, n.Input(0), n.Input(1), n.Shape)],
        ["dot"] = n => [MatMul(n.Builder, n.Input(0), n.Input(1), n.Shape)],
        ["addmm"] = n => [Sum(n, n.Input(0), MatMul(n.Builder, n.Input(1), n.Input(2), n.Shape))],
        ["addmv"] = n => [Sum(n, n.Input(0), MatMul(n.Builder, n.Input(1), n.Input(2), n.Shape))],
        // TorchSharp's a.baddbmm(b, c) is β·c + α·(a·b), unlike PyTorch's, whose input comes first.
        ["baddbmm"] = n => [Sum(n, n.Input(2), MatMul(n.Builder, n.Input(0), n.Input(1), n.Shape))],
        ["einsum"] = Einsum,
    };

    /// <summary>The product of stacks of matrices that <c>matmul</c> gives.</summary>
    internal static View MatMul(GraphBuilder builder, View a, View b, int[] shape)
    {
        if (a.Rank == 1)
            a = builder.Reshape(a, [1, a.Shape[0]]);
        if (b.Rank == 1)
            b = builder.Reshape(b, [b.Shape[0], 1]);
        if (b is { IsConstant: true, Rank: 2 })
            return builder.Reshape(FullyConnected(builder, a, builder.Transpose(builder.Plain(b), [1, 0]), null), shape);
        var (left, adjointLeft) = Matrices(builder, a);
        var (right, adjointRight) = Matrices(builder, b);
        int rank = Math.Max(a.Rank, b.Rank);
        int[] product = [.. GraphBuilder.Broadcast([a.Shape[..^2], b.Shape[..^2]], rank - 2), a.Shape[^2], b.Shape[^1]];
        var result = builder.Emit(BuiltinOp.BatchMatmul, [left, right], product, a.Type, ("adj_x", adjointLeft ? 1 : 0), ("adj_y", adjointRight ? 1 : 0));
        return builder.Reshape(new View(result), shape);
    }

    /// <summary>A product with a constant matrix of [out, in] along the last axis; the other axes may be kept in any order.</summary>
    internal static View FullyConnected(GraphBuilder builder, View x, GraphTensor weight, GraphTensor? bias)
    {
        int features = weight.Shape[0];
        int[] shape = [.. x.Shape[..^1], features];
        if (x.IsReshaped && Flattened(builder, x) is { } flattened)
        {
            // The features are a flattened image: the columns of the weight take the order in which the image is kept.
            long[] split = [features, .. flattened.Split.Select(s => (long)s)], moved = [0, .. flattened.Moved.Select(a => a + 1L)];
            weight = GraphBuilder.Moved(weight, weight.Constant!.reshape(split).permute(moved).reshape(features, -1));
            x = flattened.View;
        }

        x = Activations.Last(builder, x, x.Rank - 1);
        int[] physical = [.. x.Tensor.Shape[..^1], features];
        var result = builder.Emit(BuiltinOp.FullyConnected, [x.Tensor, weight, bias], physical, x.Type, ("keep_num_dims", physical.Length > 2 ? 1 : 0));
        return new View(result, x.Order, shape);
    }

    /// <summary>
    /// A view whose pending reshape only merges its last axes, with these as they are kept: the sizes that are merged, and
    /// which of them comes where.
    /// </summary>
    private static (View View, int[] Split, int[] Moved)? Flattened(GraphBuilder builder, View x)
    {
        var groups = Axes.Groups(x.Permuted, x.Shape);
        var last = groups[^1];
        if (last.To.Count(a => x.Shape[a] != 1) != 1 || x.Shape[^1] == 1 || last.To[^1] != x.Rank - 1)
            return null;
        int[] split = Axes.Pick(x.Permuted, last.From);
        int[] moved = [.. Enumerable.Range(0, split.Length).OrderBy(i => x.Order[last.From[i]])];
        // The same tensor, with the merged axes in the order of the file: its reshape may now be possible in place.
        int[] order = [.. x.Order];
        for (int i = 0; i < moved.Length; i++)
            order[last.From[i]] = x.Order[last.From[moved[i]]];
        var view = new View(x.Tensor, order, Axes.Pick(x.Tensor.Shape, order));
        return (builder.Reshape(view, x.Shape), split, moved);
    }

    private static View[] Linear(Node node)
    {
        var weight = node.Input(1);
        var bias = node.Optional("bias");
        if (weight.IsConstant && bias is null or { IsConstant: true })
            return [FullyConnected(node.Builder, node.Input(0), node.Builder.Plain(weight), bias is { } b ? node.Builder.Plain(b) : null)];
        var product = MatMul(node.Builder, node.Input(0), node.Builder.Permute(weight, [1, 0]), node.Shape);
        return [bias is { } added ? Arithmetic.Combine(node.Builder, BuiltinOp.Add, product, added) : product];
    }

    /// <summary>A stack of matrices, plain or each transposed, whichever costs less.</summary>
    private static (GraphTensor Tensor, bool Adjoint) Matrices(GraphBuilder builder, View x)
    {
        int[] plain = Axes.Identity(x.Rank), adjoint = [.. plain[..^2], plain[^1], plain[^2]];
        bool transposed = !x.InOrder(plain) && !x.IsConstant && (x.InOrder(adjoint) || (!x.IsReshaped && x.Order[^2] > x.Order[^1]));
        return (builder.Arrange(x, transposed ? adjoint : plain), transposed);
    }

    /// <summary>β·input + α·product.</summary>
    private static View Sum(Node node, View input, View product) =>
        Arithmetic.Combine(node.Builder, BuiltinOp.Add, Arithmetic.Scaled(node, product, node.Double(1, "alpha")), Arithmetic.Scaled(node, input, node.Double(1, "beta")));

    /// <summary>An Einstein sum of two operands as one stacked product: batch axes, free axes and summed axes are gathered.</summary>
    private static View[] Einsum(Node node)
    {
        var builder = node.Builder;
        var equation = ((string)node.Argument(0)!).Replace(" ", "");
        var operands = node.Inputs(1);
        var parts = equation.Split("->");
        var terms = parts[0].Split(',');
        if (operands.Length != 2 || equation.Contains('.') || parts.Length != 2 || terms.Append(parts[1]).Any(t => t.Distinct().Count() != t.Length))
            throw node.Error($"of Einstein sums those with two operands, an arrow, no ellipsis and no repeated axis can be; this is {equation}");
        var (left, right, result) = (terms[0], terms[1], parts[1]);
        char[] batch = [.. result.Where(c => left.Contains(c) && right.Contains(c))], summed = [.. left.Where(c => right.Contains(c) && !result.Contains(c))];
        char[] freeLeft = [.. result.Where(c => left.Contains(c) && !right.Contains(c))], freeRight = [.. result.Where(c => right.Contains(c) && !left.Contains(c))];
        if (left.Length != batch.Length + summed.Length + freeLeft.Length || right.Length != batch.Length + summed.Length + freeRight.Length)
            throw node.Error($"an axis of one operand alone is summed in {equation}; sum it first");

        int Size(char axis) => left.Contains(axis) ? operands[0].Shape[left.IndexOf(axis)] : operands[1].Shape[right.IndexOf(axis)];
        int Product(char[] axes) => axes.Aggregate(1, (product, axis) => product * Size(axis));
        int[] stack = [.. batch.Select(Size)];
        var a = builder.Reshape(builder.Permute(operands[0], [.. batch.Concat(freeLeft).Concat(summed).Select(c => left.IndexOf(c))]), [.. stack, Product(freeLeft), Product(summed)]);
        var b = builder.Reshape(builder.Permute(operands[1], [.. batch.Concat(summed).Concat(freeRight).Select(c => right.IndexOf(c))]), [.. stack, Product(summed), Product(freeRight)]);
        var product = MatMul(builder, a, b, [.. stack, Product(freeLeft), Product(freeRight)]);
        char[] gathered = [.. batch, .. freeLeft, .. freeRight];
        var spread = builder.Reshape(product, [.. gathered.Select(Size)]);
        return [builder.Permute(spread, [.. result.Select(c => Array.IndexOf(gathered, c))])];
    }
}
