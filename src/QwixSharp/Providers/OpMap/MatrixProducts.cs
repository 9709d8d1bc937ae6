using QwixSharp.Interception;
using QwixSharp.Ops;
using QwixSharp.Providers.Models;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Providers.OpMap;

/// <summary>Linear layers, matrix products and Einstein sums.</summary>
internal static class MatrixProducts
{
    internal static readonly Dictionary<string, OpHandler> Handlers = new()
    {
        ["linear"] = Linear,
        ["matmul"] = MatMul,
        ["mm"] = MatMul,
        ["bmm"] = MatMul,
        ["mv"] = MatMul,
        ["dot"] = MatMul,
        ["inner"] = Inner,
        ["addmm"] = Add,
        ["addmv"] = Add,
        ["baddbmm"] = AddBatched,
        ["addbmm"] = AddSummed,
        ["tensordot"] = TensorDot,
        ["multi_dot"] = Chain,
        ["chain_matmul"] = Chain,
        ["bilinear"] = Bilinear,
        ["einsum"] = Einsum,
    };

    private static object? Linear(ModelRun run, in OpCall call)
    {
        Tensor input = Arguments.Tensor(call, 0), weight = Arguments.Tensor(call, 1);
        var bias = (Tensor?)call.Arguments[2];
        // While a backward pass may follow, the provider is asked: it may have to refuse the weight's gradient.
        if (!(call.Module.training && is_grad_enabled()) && (run.State.Remembered(weight, call.ModulePath)?.TryCompute(input, bias) ?? WithStaticScale(run, call, input, weight, bias)) is { } known)
            return known;
        if (run.Find(call, OpNames.DotGeneral) is not { } found)
            return run.Proceed(call);
        var product = found.Provider.DotGeneral(found.Site, run.State.Operand(input), run.State.Operand(weight), new([(int)input.dim() - 1], [1]));
        return Arguments.AddBias(product, bias, found.Provider.CanWriteOverProducts);
    }

    /// <summary>A linear layer whose input has one scale known before; null where only the general way can compute it.</summary>
    private static Tensor? WithStaticScale(ModelRun run, in OpCall call, Tensor input, Tensor weight, Tensor? bias)
    {
        if (run.State.RememberedStatic(weight, call.ModulePath) is not { } known || run.State.StaticScales.Find(known.Place) is not { } scale)
            return null;
        if (scale.QType != known.Layer.QType || scale.Numbers is not { } numbers || scale.Scale.dim() != input.dim() || !(numbers.Scale > 0) || !float.IsFinite(numbers.Scale))
            return null;
        return known.Layer.CanCompute(input, bias) && run.TryCount(call.ModulePath, OpNames.DotGeneral, known.Count)
            ? known.Layer.Compute(input, numbers.Scale, numbers.ZeroPoint, bias)
            : null;
    }

    private static object? MatMul(ModelRun run, in OpCall call) =>
        Product(run, call, Arguments.Tensor(call, 0), Arguments.Tensor(call, 1)) ?? run.Proceed(call);

    /// <summary>The product that <c>matmul</c> gives, with its broadcasting of batch axes; null where no rule quantizes it.</summary>
    private static Tensor? Product(ModelRun run, in OpCall call, Tensor a, Tensor b)
    {
        int rankA = (int)a.dim(), rankB = (int)b.dim();
        if (rankB <= 2)
            return run.DotGeneral(call, a, b, new([rankA - 1], [0]));
        if (rankA <= 2)
            return BroadcastLeft(run, call, a, b, rankA, rankB);

        long[] batchA = a.shape[..^2], batchB = b.shape[..^2];
        if (batchA.SequenceEqual(batchB))
            return run.DotGeneral(call, a, b, Batched(rankA));
        using var scope = NewDisposeScope();
        long[] batch = broadcast_shapes(batchA, batchB).Shape;
        // Repeated along its batch axes, a weight is a weight no more: it counts as an activation.
        var wideA = batchA.SequenceEqual(batch) ? a : a.expand([.. batch, .. a.shape[^2..]]);
        var wideB = batchB.SequenceEqual(batch) ? b : b.expand([.. batch, .. b.shape[^2..]]);
        return run.DotGeneral(call, wideA, wideB, Batched(batch.Length + 2))?.MoveToOuterDisposeScope();
    }

    /// <summary>A matrix or vector times a stack of matrices: the batch axes are free axes of the right side, and come first.</summary>
    private static Tensor? BroadcastLeft(ModelRun run, in OpCall call, Tensor a, Tensor b, int rankA, int rankB)
    {
        var product = run.DotGeneral(call, a, b, new([rankA - 1], [rankB - 2]));
        if (product is null || rankA == 1)
            return product;
        using (product)
            return product.movedim([0], [rankB - 2]);
    }

    private static DotDimensionNumbers Batched(int rank)
    {
        int[] batch = [.. Enumerable.Range(0, rank - 2)];
        return new([rank - 1], [rank - 2], batch, batch);
    }

    private static object? Inner(ModelRun run, in OpCall call)
    {
        Tensor a = Arguments.Tensor(call, 0), b = Arguments.Tensor(call, 1);
        if (a.dim() == 0 || b.dim() == 0)
            return run.Proceed(call);
        return run.DotGeneral(call, a, b, new([(int)a.dim() - 1], [(int)b.dim() - 1])) ?? run.Proceed(call);
    }

    /// <summary>β·input + α·product, for addmm and addmv.</summary>
    private static object? Add(ModelRun run, in OpCall call) =>
        Scaled(call, Arguments.Tensor(call, 0), Product(run, call, Arguments.Tensor(call, 1), Arguments.Tensor(call, 2))) ?? run.Proceed(call);

    /// <summary>TorchSharp's <c>a.baddbmm(b, c)</c> is β·c + α·(a·b), unlike PyTorch's, whose input comes first.</summary>
    private static object? AddBatched(ModelRun run, in OpCall call) =>
        Scaled(call, Arguments.Tensor(call, 2), Product(run, call, Arguments.Tensor(call, 0), Arguments.Tensor(call, 1))) ?? run.Proceed(call);

    /// <summary>addbmm: products of a stack of matrices, summed over the stack.</summary>
    private static object? AddSummed(ModelRun run, in OpCall call) =>
        Scaled(call, Arguments.Tensor(call, 0), run.DotGeneral(call, Arguments.Tensor(call, 1), Arguments.Tensor(call, 2), new([0, 2], [0, 1]))) ?? run.Proceed(call);

    private static Tensor? Scaled(in OpCall call, Tensor input, Tensor? product)
    {
        if (product is null)
            return null;
        using var scope = NewDisposeScope();
        float beta = (float)call.Arguments[3]!, alpha = (float)call.Arguments[4]!;
        var scaled = alpha == 1 ? product : product * alpha;
        var result = scaled + (beta == 1 ? input : input * beta);
        product.Dispose();
        return result.MoveToOuterDisposeScope();
    }

    private static object? TensorDot(ModelRun run, in OpCall call)
    {
        Tensor a = Arguments.Tensor(call, 0), b = Arguments.Tensor(call, 1);
        // The overload with a number of axes always throws in TorchSharp 0.107, so it is left to do so.
        var numbers = call.Arguments[2] switch
        {
            (long, long)[] pairs => new DotDimensionNumbers([.. pairs.Select(p => (int)p.Item1)], [.. pairs.Select(p => (int)p.Item2)]),
            long[] axes => new([.. axes.Select(d => (int)d)], [.. ((long[])call.Arguments[3]!).Select(d => (int)d)]),
            _ => null,
        };
        return numbers is null ? run.Proceed(call) : run.DotGeneral(call, a, b, numbers) ?? run.Proceed(call);
    }

    private static object? Chain(ModelRun run, in OpCall call)
    {
        var matrices = ((IEnumerable<Tensor>)call.Arguments[0]!).ToList();
        using var scope = NewDisposeScope();
        var product = matrices[0];
        for (int i = 1; i < matrices.Count; i++)
        {
            if (Product(run, call, product, matrices[i]) is not { } next)
                return i == 1 ? ((Tensor)run.Proceed(call)!).MoveToOuterDisposeScope() : throw new InvalidOperationException("One chain falls under one rule.");
            product = next;
        }

        return matrices.Count == 1 ? run.Proceed(call) : product.MoveToOuterDisposeScope();
    }

    /// <summary>y[…, o] = Σ x1[…, i] · w[o, i, j] · x2[…, j] + b[o], as two products.</summary>
    private static object? Bilinear(ModelRun run, in OpCall call)
    {
        Tensor x1 = Arguments.Tensor(call, 0), x2 = Arguments.Tensor(call, 1);
        int rank = (int)x1.dim();
        using var scope = NewDisposeScope();
        if (run.DotGeneral(call, x1, Arguments.Tensor(call, 2), new([rank - 1], [1])) is not { } first)
            return ((Tensor)run.Proceed(call)!).MoveToOuterDisposeScope();
        int[] batch = [.. Enumerable.Range(0, rank - 1)];
        var second = run.DotGeneral(call, first, x2, new([rank], [rank - 1], batch, batch))!;
        return Arguments.AddBias(second, (Tensor?)call.Arguments[3], mayWrite: false).MoveToOuterDisposeScope();
    }

    private static object? Einsum(ModelRun run, in OpCall call)
    {
        if (run.Find(call, OpNames.Einsum) is not { } found)
            return run.Proceed(call);
        var equation = (string)call.Arguments[0]!;
        var operands = ((Tensor[])call.Arguments[1]!).Select(run.State.Operand).ToList();
        return found.Provider.Einsum(found.Site, equation, operands);
    }
}
