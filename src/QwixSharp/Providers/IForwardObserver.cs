using QwixSharp.Interception;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>Sees the graph of an on-device model while it runs: its ops and fake-quants, in program order.</summary>
/// <remarks>
/// Tensors are known by their object: what an op gives is the very object that later ops take. Ops that LiteRT lacks but
/// has the parts of (SiLU, scaled dot-product attention, addmm) come as these.
/// </remarks>
public interface IForwardObserver
{
    /// <summary>An op has run.</summary>
    /// <param name="call">The op, with the arguments that it ran on: fake-quantized tensors are in the places of their originals.</param>
    /// <param name="result">
    /// What the op gave: a tensor, or an array, list or tuple of some. For an op in place it is the tensor that was changed,
    /// as it is now; <paramref name="call"/> has the value before.
    /// </param>
    void OnOp(in OpCall call, object? result);

    /// <summary>A tensor was fake-quantized.</summary>
    /// <param name="input">The tensor.</param>
    /// <param name="output">The fake-quantized tensor, which ops take from now on. It lives as long as the forward pass; do not dispose it.</param>
    /// <param name="annotation">The place and the numbers.</param>
    void OnFakeQuant(Tensor input, Tensor output, FakeQuantAnnotation annotation);
}

/// <summary>Makes observers ambient for the on-device models that run in the same flow of control.</summary>
public static class ForwardObserver
{
    private static readonly AsyncLocal<IForwardObserver?> Ambient = new();

    internal static IForwardObserver? Current => Ambient.Value;

    /// <summary>Lets an observer see the on-device models that are called until the result is disposed.</summary>
    /// <param name="observer">The observer; it may be called by several threads at once where the model has several.</param>
    /// <returns>Restores what was ambient before. Dispose it in the flow of control that called this.</returns>
    public static IDisposable Enter(IForwardObserver observer)
    {
        ArgumentNullException.ThrowIfNull(observer);
        var previous = Ambient.Value;
        Ambient.Value = observer;
        return new Restorer(previous);
    }

    private sealed class Restorer(IForwardObserver? previous) : IDisposable
    {
        public void Dispose() => Ambient.Value = previous;
    }
}
