using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>A product of two operands that knows its own gradient. One object serves one call.</summary>
internal interface ITrainedProduct
{
    /// <summary>Computes the product. Nothing is recorded by autograd meanwhile.</summary>
    /// <param name="lhs">The left operand.</param>
    /// <param name="rhs">The right operand.</param>
    /// <param name="saved">Takes what <see cref="Backward"/> needs; null where there will be no gradient.</param>
    /// <returns>A new tensor.</returns>
    /// <exception cref="ArgumentException">The operands cannot be multiplied so, forwards or backwards.</exception>
    Tensor Forward(Tensor lhs, Tensor rhs, SavedTensors? saved);

    /// <summary>The gradients of the operands that need one.</summary>
    /// <param name="gradient">That of the product.</param>
    /// <param name="saved">The saved tensors.</param>
    (Tensor? Lhs, Tensor? Rhs) Backward(Tensor gradient, IReadOnlyList<Tensor> saved);
}

/// <summary>Puts a product with its own gradient into libtorch's graph.</summary>
internal sealed class ProductFunction : autograd.SingleTensorFunction<ProductFunction>
{
    private const string Key = "product";

    /// <inheritdoc/>
    public override string Name => "QuantizedProduct";

    /// <summary>Computes a product, with its gradient where one is needed.</summary>
    /// <returns>A tensor that the caller owns.</returns>
    internal static Tensor Apply(ITrainedProduct product, Tensor lhs, Tensor rhs)
    {
        using var scope = NewDisposeScope();
        if (!is_grad_enabled() || !(lhs.requires_grad || rhs.requires_grad))
        {
            using var noGrad = no_grad();
            return product.Forward(lhs, rhs, null).MoveToOuterDisposeScope();
        }

        BackwardError.Forget();
        return apply(product, AsNode(lhs), AsNode(rhs)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
    {
        var product = (ITrainedProduct)vars[0];
        var saved = new SavedTensors();
        var result = product.Forward((Tensor)vars[1], (Tensor)vars[2], saved);
        ctx.set_materialize_grads(false);
        ctx.save_for_backward(saved.Tensors);
        ctx.save_data(Key, product);
        // As a view, it could not be changed in place by what comes after, such as an activation.
        return result.detach();
    }

    /// <inheritdoc/>
    public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) =>
        ReturnedGradients.Of(grad_output, gradient => ((ITrainedProduct)ctx.get_data(Key)).Backward(gradient, ctx.get_saved_variables()));

    /// <summary>
    /// A view in place of a parameter: its own gradient is then a new view of what <see cref="backward"/> returns, which
    /// autograd takes over as the parameter's gradient, where it would copy a tensor that somebody else holds too.
    /// </summary>
    internal static Tensor AsNode(Tensor operand) => operand.requires_grad && operand.is_leaf ? operand.view(operand.shape) : operand;
}
