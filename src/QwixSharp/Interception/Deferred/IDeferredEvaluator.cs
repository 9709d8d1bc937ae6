using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>An interceptor under which ops may be deferred.</summary>
internal interface IDefersOps : IOpInterceptor
{
    /// <summary>Computes deferred ops; null where nothing is to be deferred.</summary>
    IDeferredEvaluator? Evaluator { get; }

    /// <summary>The names of the model's modules where they are known from runs before; else null.</summary>
    ModulePaths? Paths { get; }
}

/// <summary>Computes deferred ops together where it knows how.</summary>
internal interface IDeferredEvaluator
{
    /// <summary>Whether a tensor that a deferred op would read is what it seems: a parameter whose values were given up is not.</summary>
    bool MayRead(Tensor tensor);

    /// <summary>Whether an op that rearranges a tensor may be deferred: those on parameters are followed by the interceptor.</summary>
    bool MayRearrange(Tensor tensor);

    /// <summary>Whether an op that the interceptor answers may be deferred. It must not be able to fail then.</summary>
    /// <param name="op">The op: a linear layer, a product, a convolution or what follows one.</param>
    /// <param name="arguments">Its arguments; tensors that are deferred themselves have no value yet.</param>
    /// <param name="input">The shape of its first operand.</param>
    /// <param name="scope">The module that calls it.</param>
    /// <param name="call">Has the first operand; takes others, the shape of the result and a payload for the node.</param>
    bool Agrees(DeferrableOp op, in CallArguments arguments, long[] input, InterceptionScope scope, ref DeferredCall call);

    /// <summary>Computes a node, or what it is a view of, and tells where its elements lie.</summary>
    /// <param name="node">The node.</param>
    /// <param name="graph">Its graph.</param>
    /// <param name="strides">The distances along its axes, in elements; written.</param>
    /// <returns>Where the first element is, until anything else is computed.</returns>
    nint Locate(DeferredNode node, DeferredGraph graph, Span<long> strides);

    /// <summary>Copies a value over a tensor that has one, or over a view of such a tensor that is deferred itself.</summary>
    /// <returns>False where nothing was written: the call is made as the model wrote it.</returns>
    bool TryCopy(Operand source, Operand target, DeferredGraph graph);

    /// <summary>Computes a node from the values of other nodes, skipping those between.</summary>
    /// <returns>Whether the node is computed now; if not, it is computed as the model wrote it.</returns>
    bool TryCompute(DeferredNode node, DeferredGraph graph);
}
