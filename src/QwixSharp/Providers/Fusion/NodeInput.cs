using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>What a deferred op reads: a tensor, and the op that gives it where that is deferred too.</summary>
/// <param name="Tensor">The tensor; without a value where there is a node.</param>
/// <param name="Origin">The op that gives it or has given it; null where none was deferred.</param>
internal readonly record struct NodeInput(Tensor Tensor, DeferredNode? Origin)
{
    /// <summary>The op that gives it, or null where the value is known.</summary>
    internal DeferredNode? Node => Origin is { HasValue: false } ? Origin : null;

    /// <summary>An operand of a node.</summary>
    internal static NodeInput Of(DeferredNode node, int operand) => new(node.Operands[operand], node.Origin(operand));

    /// <summary>An operand of the node.</summary>
    internal NodeInput this[int operand] => Of(Node!, operand);

    internal bool Is(OpKind kind) => Node?.Kind == kind;

    /// <summary>Whether it is an op of two tensors.</summary>
    internal bool IsOfTensors(OpKind kind) => Is(kind) && Node!.Operands.Length == 2;

    /// <summary>Whether it is an op of a tensor and a number.</summary>
    internal bool IsWithNumber(OpKind kind) => Is(kind) && Node!.Operands.Length == 1;

    internal bool Same(NodeInput other) => ReferenceEquals(Tensor, other.Tensor);

    /// <summary>The value, as a tensor.</summary>
    internal Tensor Value(DeferredGraph graph) => Origin is null ? Tensor : graph.Value(Origin);

    internal long[] Shape(DeferredGraph graph) => Origin?.Shape ?? graph.ShapeOf(Tensor) ?? Tensor.shape;

    /// <summary>Where the elements lie: those of a deferred view in the memory of what it is a view of. What is no view is computed.</summary>
    internal StridedTensor View(DeferredGraph graph) => Node switch
    {
        { Kind: OpKind.Transpose } node => this[0].View(graph).Exchanged(node.Axis, (int)node.Start),
        { Kind: OpKind.Part } node => this[0].View(graph).Part(node.Axis, node.Start, node.Shape),
        // Attention writes its heads side by side: it would have to be copied if it was computed as it is.
        { Kind: OpKind.Reshape } node when AttentionPattern.WithHeadsTogether(node) is { Kind: OpKind.MatMul or OpKind.Attention } => Known(graph),
        { Kind: OpKind.Reshape } node when this[0].View(graph) is { IsContiguous: true } flat => flat.Reshaped(node.Shape),
        _ => Known(graph),
    };

    private StridedTensor Known(DeferredGraph graph)
    {
        if (Origin is null)
            return StridedTensor.Of(Tensor, Shape(graph));
        graph.Prepare(Origin);
        return Origin.IsComputed ? StridedTensor.Of(Origin.Tensor, Origin.Shape) : StridedTensor.Of(Origin.Address, Origin.Shape);
    }
}
