using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;

namespace QwixSharp.Providers.Fusion;

/// <summary>
/// x · 1/√(mean(x²) + ε) · w, in whatever order it is multiplied, with the square, the root and its reciprocal as models write
/// them.
/// </summary>
internal static class RmsNormPattern
{
    /// <summary>Computes a product or quotient that is a norm.</summary>
    internal static bool TryCompute(DeferredNode node, DeferredGraph graph)
    {
        if (node.Operands.Length != 2)
            return false;
        NodeInput left = NodeInput.Of(node, 0), right = NodeInput.Of(node, 1);
        var found = node.Kind == OpKind.Divide ? Quotient(left, right) : Product(left, right) ?? Product(right, left);
        if (found is not var (x, weight, epsilon))
            return false;
        long[] shape = x.Shape(graph);
        if (shape.Length == 0 || !shape.AsSpan().SequenceEqual(node.Shape) || (weight is { } given && !IsRow(given.Shape(graph), shape[^1])))
            return false;
        var input = x.View(graph);
        var factors = weight?.View(graph);
        if (!input.IsContiguous || factors?.IsContiguous == false || input.Count == 0)
            return false;
        using var output = new NodeOutput(node, graph);
        FusedOps.RmsNorm(input, factors, epsilon, output.Address);
        output.Give(graph);
        return true;
    }

    /// <summary>Whether a shape is that of one row, so that all rows are multiplied with the same.</summary>
    private static bool IsRow(long[] shape, long length) => shape.Length > 0 && shape[^1] == length && ShapeReaders.Count(shape) == length;

    private static Norm? Product(NodeInput a, NodeInput b)
    {
        if (Scale(b) is { } scale)
        {
            // x · r, (x · w) · r
            if (a.Same(scale.Of))
                return new(a, null, scale.Epsilon);
            return Other(a, scale.Of) is { } weight ? new(scale.Of, weight, scale.Epsilon) : null;
        }

        // (x · r) · w, (x ÷ s) · w
        if (a.IsOfTensors(OpKind.Multiply) && (Plain(a[0], a[1]) ?? Plain(a[1], a[0])) is { } product)
            return product with { Weight = b };
        if (a.IsOfTensors(OpKind.Divide) && Quotient(a[0], a[1]) is { Weight: null } quotient)
            return quotient with { Weight = b };

        // x · (r · w)
        if (!b.IsOfTensors(OpKind.Multiply))
            return null;
        if (Scale(b[0]) is { } first && a.Same(first.Of))
            return new(a, b[1], first.Epsilon);
        return Scale(b[1]) is { } second && a.Same(second.Of) ? new(a, b[0], second.Epsilon) : null;
    }

    private static Norm? Plain(NodeInput x, NodeInput r) => Scale(r) is { } scale && x.Same(scale.Of) ? new(x, null, scale.Epsilon) : null;

    private static Norm? Quotient(NodeInput a, NodeInput root)
    {
        if (!(root.Is(OpKind.SquareRoot) || IsPower(root, 0.5)) || Variance(root[0]) is not { } scale)
            return null;
        if (a.Same(scale.Of))
            return new(a, null, scale.Epsilon);
        return Other(a, scale.Of) is { } weight ? new(scale.Of, weight, scale.Epsilon) : null;
    }

    /// <summary>The other factor of a product with x; null where it is no such product.</summary>
    private static NodeInput? Other(NodeInput product, NodeInput x)
    {
        if (!product.IsOfTensors(OpKind.Multiply))
            return null;
        return product[0].Same(x) ? product[1] : product[1].Same(x) ? product[0] : null;
    }

    private static (NodeInput Of, double Epsilon)? Scale(NodeInput r)
    {
        if (r.Is(OpKind.ReciprocalSquareRoot) || IsPower(r, -0.5))
            return Variance(r[0]);
        var isReciprocal = r.Is(OpKind.Reciprocal) || (r.IsWithNumber(OpKind.Divide) && r.Node!.Axis == 1 && r.Node.Number == 1);
        return isReciprocal && (r[0].Is(OpKind.SquareRoot) || IsPower(r[0], 0.5)) ? Variance(r[0][0]) : null;
    }

    private static (NodeInput Of, double Epsilon)? Variance(NodeInput sum)
    {
        var (mean, epsilon) = sum.IsWithNumber(OpKind.Add) ? (sum[0], sum.Node!.Number) : (sum, 0);
        if (!mean.Is(OpKind.Mean) || mean.Node!.Axis != mean.Node.Shape.Length - 1)
            return null;
        var square = mean[0];
        if (IsPower(square, 2))
            return (square[0], epsilon);
        return square.IsOfTensors(OpKind.Multiply) && square[0].Same(square[1]) ? (square[0], epsilon) : null;
    }

    private static bool IsPower(NodeInput input, double exponent) => input.Is(OpKind.Power) && input.Node!.Number == exponent;

    private readonly record struct Norm(NodeInput X, NodeInput? Weight, double Epsilon);
}
