using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>
/// Marks the result of an op that has no gradient for operands that ask for one: a backward pass that comes here fails
/// with a message, where it would leave gradients out without a word.
/// </summary>
internal sealed class RefusedGradient : autograd.SingleTensorFunction<RefusedGradient>
{
    private const string Key = "message";

    /// <inheritdoc/>
    public override string Name => "RefusedGradient";

    /// <summary>Marks a result.</summary>
    /// <param name="result">The result; it is disposed of.</param>
    /// <param name="operand">An operand that needs a gradient.</param>
    /// <param name="message">What the exception says.</param>
    /// <returns>The same values, in a tensor that the caller owns.</returns>
    internal static Tensor Mark(Tensor result, Tensor operand, string message)
    {
        using var scope = NewDisposeScope();
        using (result)
        {
            BackwardError.Forget();
            return apply(message, result, operand).MoveToOuterDisposeScope();
        }
    }

    /// <inheritdoc/>
    public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
    {
        ctx.set_materialize_grads(false);
        ctx.save_data(Key, vars[0]);
        return ((Tensor)vars[1]).detach();
    }

    /// <inheritdoc/>
    public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
    {
        if (!grad_output.IsInvalid)
        {
            grad_output.Dispose();
            BackwardError.Report((string)ctx.get_data(Key));
        }

        return [null!, null!, null!];
    }
}
