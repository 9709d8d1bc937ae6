using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>Values that lie in memory which the evaluator lends: most are read by other deferred ops alone and never become tensors.</summary>
internal sealed partial class DeferredGraph
{
    private readonly List<DeferredNode> _kept = [];
    private DeferredNode? _wanted;

    /// <summary>Whether the value of a node that is being computed is needed as a tensor: for the model, or for an op that is computed as it was written.</summary>
    internal bool IsWanted(DeferredNode node) => node == _wanted;

    /// <summary>Gives a node its value, as float32 elements in row-major order without gaps.</summary>
    /// <param name="node">The node.</param>
    /// <param name="memory">Where they are; disposed when nobody can need them any more.</param>
    /// <param name="address">The first of them.</param>
    internal void Keep(DeferredNode node, IDisposable memory, nint address)
    {
        (node.Memory, node.Address, node.Depth) = (memory, address, 0);
        _kept.Add(node);
        if (node.Op.NeedsConsent) _consented.Remove(node);
        ReleaseOperands(node);
        node.ForgetOperands();
        if (!node.IsReachable && node.Readers == 0) Retire(node);
    }

    /// <summary>A tensor that the model gets and whose value is known, but is no tensor.</summary>
    internal Tensor Lend(long[] shape, IDisposable memory, nint address)
    {
        var node = Add(Alias, default, new DeferredCall { Shape = shape, IsContiguous = true });
        (node.Memory, node.Address, node.Depth) = (memory, address, 0);
        _kept.Add(node);
        return node.Tensor;
    }

    /// <summary>Computes a node, if need be, and tells where its elements lie.</summary>
    internal nint Locate(DeferredNode node, Span<long> strides) => _evaluator.Locate(node, this, strides);

    /// <summary>Computes a node whose value need not be a tensor.</summary>
    internal void Prepare(DeferredNode node)
    {
        if (!node.HasValue) Evaluate(node);
    }

    /// <summary>Makes a tensor of a value.</summary>
    private unsafe void MakeTensor(DeferredNode node)
    {
        var tensor = empty(node.Shape, dtype: ScalarType.Float32);
        var bytes = ShapeReaders.Count(node.Shape) * sizeof(float);
        Buffer.MemoryCopy((void*)node.Address, (void*)TensorInternals.Data(TensorInternals.Handle(tensor)), bytes, bytes);
        Free(node);
        Assign(node, tensor);
        if (node.Readers == 0) Retire(node);
    }

    private void Free(DeferredNode node)
    {
        _kept.Remove(node);
        node.Memory!.Dispose();
        node.Memory = null;
    }
}
