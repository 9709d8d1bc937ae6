using QwixSharp.Interception;
using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;
using QwixSharp.Providers.Models;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;
using DeferredOperand = QwixSharp.Interception.Deferred.Operand;

namespace QwixSharp.Providers.Fusion;

/// <summary>Computes the deferred ops of a quantized model: known chains in one pass, layers of one input together.</summary>
internal sealed class FusionEvaluator(ModelState state) : IDeferredEvaluator
{
    private readonly ImageOps _images = new(state);

    /// <inheritdoc/>
    public bool MayRead(Tensor tensor) => !state.HasReleased || state.UseOf(tensor) is not { } use || !state.IsReleased(use);

    /// <inheritdoc/>
    public bool MayRearrange(Tensor tensor) => state.UseOf(tensor) is null;

    /// <inheritdoc/>
    public bool Agrees(DeferrableOp op, in CallArguments arguments, long[] input, InterceptionScope scope, ref DeferredCall call)
    {
        if (op.Kind == OpKind.MatMul)
            return !scope.Module.training && IsPlainProduct(arguments, scope.Path);
        // Whether gradients are recorded is asked first: it costs less than a look at the module.
        if (TensorInternals.GradientsAreRecorded() && scope.Module.training)
            return false;
        if (op.Kind == OpKind.Attention)
            return !scope.Module.training && KeepsActivations(scope.Path);
        if (op.Kind != OpKind.Linear)
            return _images.Agrees(op, arguments, input, scope, ref call);
        if (arguments.Tensor(1) is not { } weight || state.Remembered(weight, scope) is not { } layer || layer.ResultShape(input) is not { } shape)
            return false;
        if (arguments.Tensor(2) is { } bias)
        {
            // An activation as a bias is left to the general way.
            if (bias is not TorchSharp.Modules.Parameter || (bias.requires_grad && is_grad_enabled()) || bias.dtype != ScalarType.Float32 || !bias.is_contiguous() || bias.device_type != DeviceType.CPU)
                return false;
            call.Operands.Add(bias);
        }

        (call.Shape, call.IsContiguous, call.Payload) = (shape, true, layer);
        return true;
    }

    /// <inheritdoc/>
    public nint Locate(DeferredNode node, DeferredGraph graph, Span<long> strides)
    {
        var view = new NodeInput(node.Tensor, node).View(graph);
        view.Strides.CopyTo(strides);
        return view.Address;
    }

    /// <inheritdoc/>
    public bool TryCopy(DeferredOperand source, DeferredOperand target, DeferredGraph graph)
    {
        var to = new NodeInput(target.Tensor, target.Source).View(graph);
        var from = new NodeInput(source.Tensor, source.Source).View(graph);
        if (from.Overlaps(to))
            return false;
        from.CopyTo(to);
        return true;
    }

    /// <inheritdoc/>
    public bool TryCompute(DeferredNode node, DeferredGraph graph)
    {
        if (node.Kind == OpKind.Linear)
            return LinearGroup.TryCompute(node, graph);
        if (ImageChain.TryCompute(node, graph))
            return true;
        switch (node.Kind)
        {
            case OpKind.Multiply:
                return RmsNormPattern.TryCompute(node, graph) || GatePattern.TryCompute(node, graph);
            case OpKind.Divide:
                return RmsNormPattern.TryCompute(node, graph);
            case OpKind.Add:
                return RotaryPattern.TryCompute(node, graph) || TrySum(node, graph);
            case OpKind.Attention:
            case OpKind.Reshape when AttentionPattern.WithHeadsTogether(node)?.Kind == OpKind.Attention:
                return ScaledAttentionPattern.TryCompute(node, graph);
        }

        var result = node.Kind switch
        {
            OpKind.Gelu => LinearGeluPattern.TryCompute(node, graph),
            OpKind.LayerNorm => LayerNormPattern.TryCompute(node, graph),
            OpKind.MatMul or OpKind.Reshape => AttentionPattern.TryCompute(node, graph),
            _ => null,
        };
        if (result is null)
            return false;
        graph.Give(node, result);
        return true;
    }

    /// <summary>Whether a product is one of activations that no rule quantizes.</summary>
    private bool IsPlainProduct(in CallArguments arguments, string path)
    {
        if (arguments.Tensor(0) is not { } left || arguments.Tensor(1) is not { } right || state.UseOf(left) is not null || state.UseOf(right) is not null)
            return false;
        return state.Providers.All(provider => provider.Match(path, OpNames.DotGeneral) is null);
    }

    /// <summary>Whether products of two activations are computed as they are.</summary>
    private bool KeepsActivations(string path) => state.Providers.All(provider => provider.Match(path, OpNames.DotGeneral)?.ActQType is null);

    private static bool TrySum(DeferredNode node, DeferredGraph graph)
    {
        if (node.Operands.Length != 2)
            return false;
        NodeInput left = NodeInput.Of(node, 0), right = NodeInput.Of(node, 1);
        if (!left.Shape(graph).AsSpan().SequenceEqual(node.Shape) || !right.Shape(graph).AsSpan().SequenceEqual(node.Shape))
            return false;
        StridedTensor a = left.View(graph), b = right.View(graph);
        if (!a.IsContiguous || !b.IsContiguous)
            return false;
        using var output = new NodeOutput(node, graph);
        FusedOps.Add(a, b, output.Address);
        output.Give(graph);
        return true;
    }
}
