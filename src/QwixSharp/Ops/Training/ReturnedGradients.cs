using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>
/// The gradients that a thread's backward functions returned last. libtorch reads them after the function has ended, so that
/// they can be freed no sooner than at the next call.
/// </summary>
internal static class ReturnedGradients
{
    [ThreadStatic]
    private static List<Tensor>? _last;

    /// <summary>What the backward pass of a function of three arguments returns, of which the first has no gradient.</summary>
    /// <param name="incoming">The gradient of the function's result.</param>
    /// <param name="compute">Computes the gradients of the second and the third argument; null for none.</param>
    internal static List<Tensor> Of(Tensor incoming, Func<Tensor, (Tensor? Second, Tensor? Third)> compute)
    {
        List<Tensor> none = [null!, null!, null!];
        if (BackwardError.Repeat() || incoming.IsInvalid)
            return none;
        _last?.ForEach(t => t.Dispose());
        _last = null;
        try
        {
            using var noGrad = no_grad();
            using var scope = NewDisposeScope();
            using var gradient = incoming;
            var (second, third) = compute(gradient);
            _last = [.. new[] { second, third }.OfType<Tensor>().Select(t => t.MoveToOuterDisposeScope())];
            return [null!, second!, third!];
        }
        catch (Exception error)
        {
            // An exception must not pass through the native code that called.
            BackwardError.Report(error.Message);
            return none;
        }
    }
}
