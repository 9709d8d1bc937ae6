using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// A function that is linear in one tensor, whose gradient is computed by a function of its own: autograd keeps nothing
/// for it, neither the tensor nor the frozen operand of the product.
/// </summary>
internal sealed class LinearFunction : autograd.SingleTensorFunction<LinearFunction>
{
    /// <summary>
    /// The gradient that was handed to autograd last. Autograd takes a reference of its own, but only after
    /// <see cref="backward"/> has returned, so that ours can be let go of no sooner than at the next call.
    /// </summary>
    [ThreadStatic]
    private static Tensor? _handedOver;

    public override string Name => nameof(LinearFunction);

    /// <summary>Applies the function.</summary>
    /// <param name="x">What it is linear in.</param>
    /// <param name="forward">Makes the result, without gradients.</param>
    /// <param name="transpose">Makes the gradient of x, of its shape and dtype, of that of the result. It must not throw, since it is called from native code.</param>
    /// <returns>The result; the caller owns it.</returns>
    internal static Tensor Apply(Tensor x, Func<Tensor> forward, Func<Tensor, Tensor> transpose)
    {
        if (!x.requires_grad || !is_grad_enabled())
            return forward();
        LetGo();
        // TorchSharp makes a tensor of the result's size for each call, which nothing reads: the scope frees it.
        using var scope = NewDisposeScope();
        return apply(x, forward, transpose).MoveToOuterDisposeScope();
    }

    public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
    {
        ctx.save_data(nameof(backward), vars[2]);
        return ((Func<Tensor>)vars[1])();
    }

    public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
    {
        LetGo();
        using (grad_output)
        using (NewDisposeScope())
            _handedOver = ((Func<Tensor, Tensor>)ctx.get_data(nameof(backward)))(grad_output).DetachFromDisposeScope();
        return [_handedOver, null!, null!];
    }

    private static void LetGo()
    {
        _handedOver?.Dispose();
        _handedOver = null;
    }
}
