using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>Gives rounded values the gradient of the array that they were made of, in libtorch's graph.</summary>
internal sealed class StraightThroughFunction : autograd.SingleTensorFunction<StraightThroughFunction>
{
    private const string Key = "mask";

    /// <inheritdoc/>
    public override string Name => "StraightThrough";

    /// <summary>Connects rounded values with their array, where a gradient is needed.</summary>
    /// <param name="array">The array.</param>
    /// <param name="rounded">Its rounded values, without a gradient.</param>
    /// <param name="mask">Which of them the gradient passes; null for all.</param>
    /// <returns>The same values, in a tensor that the caller owns.</returns>
    internal static Tensor Apply(Tensor array, Tensor rounded, GradientMask? mask)
    {
        using var scope = NewDisposeScope();
        if (!is_grad_enabled() || !array.requires_grad)
            return rounded.alias().MoveToOuterDisposeScope();
        BackwardError.Forget();
        // A gradient that is passed on belongs to others too, and must be copied into a parameter's.
        return apply(mask, rounded, mask is null ? array : ProductFunction.AsNode(array)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
    {
        var saved = new SavedTensors();
        ctx.save_data(Key, vars[0] is GradientMask mask ? saved.Add(mask) : null);
        ctx.set_materialize_grads(false);
        ctx.save_for_backward(saved.Tensors);
        return ((Tensor)vars[1]).detach();
    }

    /// <inheritdoc/>
    public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => ReturnedGradients.Of(grad_output, gradient =>
        (null, ctx.get_data(Key) is SavedMask mask ? mask.Restore(ctx.get_saved_variables()).Apply(gradient, mayOverwrite: false) : gradient.alias()));
}
