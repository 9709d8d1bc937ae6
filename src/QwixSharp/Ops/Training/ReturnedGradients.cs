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

    /// <summary>Frees those of the call before.</summary>
    internal static void Free()
    {
        _last?.ForEach(t => t.Dispose());
        _last = null;
    }

    /// <summary>Keeps those of this call, for which the dispose scope that is open is left.</summary>
    /// <param name="gradients">The gradients; null for none.</param>
    internal static void Keep(params Tensor?[] gradients) => _last = [.. gradients.OfType<Tensor>().Select(t => t.MoveToOuterDisposeScope())];
}
