using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Lora;

/// <summary>A general dot product with a weight on the right: A is [batch…, contracted, rank], B is [batch…, rank, free].</summary>
internal sealed class DotForm : LoraForm
{
    private readonly DotDimensionNumbers _numbers;
    private readonly AxisGroups _axes;
    private readonly long[] _batch;
    private readonly long[] _contracted;
    private readonly long[] _free;

    internal DotForm(DotDimensionNumbers numbers, long[] weightShape)
    {
        _numbers = numbers;
        _axes = numbers.Groups(forLhs: false, weightShape.Length);
        _batch = [.. _axes.Batch.Select(a => weightShape[a])];
        _contracted = [.. _axes.Contracting.Select(a => weightShape[a])];
        _free = [.. _axes.Free.Select(a => weightShape[a])];
    }

    internal override long LargestRank => Math.Min(Product(_contracted), Product(_free));

    internal override LoraLayout Layout => _batch.Length == 0 && _contracted.Length == 1 && _free.Length == 1 ? LoraLayout.Matrix : LoraLayout.Other;

    internal override long[] ShapeA(long rank) => [.. _batch, Product(_contracted), rank];

    internal override long[] ShapeB(long rank) => [.. _batch, rank, Product(_free)];

    internal override Tensor Delta(Tensor x, Tensor a, Tensor b)
    {
        using var scope = NewDisposeScope();
        int batch = _batch.Length;
        long rank = b.shape[batch];
        int[] batchAxes = [.. Enumerable.Range(0, batch)], contracted = [.. Enumerable.Range(batch, _contracted.Length)];
        var down = DotGeneralOp.Compute(x, a.reshape([.. _batch, .. _contracted, rank]), new(_numbers.LhsContracting, contracted, _numbers.LhsBatch, batchAxes), null);
        var up = DotGeneralOp.Compute(down, b.reshape([.. _batch, rank, .. _free]), new([(int)down.dim() - 1], [batch], batchAxes, batchAxes), null);
        return up.MoveToOuterDisposeScope();
    }

    internal override Tensor WeightDelta(Tensor a, Tensor b)
    {
        using var scope = NewDisposeScope();
        int[] order = [.. _axes.Batch, .. _axes.Contracting, .. _axes.Free];
        var delta = a.matmul(b).reshape([.. _batch, .. _contracted, .. _free]);
        return delta.permute([.. Enumerable.Range(0, order.Length).Select(axis => (long)Array.IndexOf(order, axis))]).MoveToOuterDisposeScope();
    }
}
