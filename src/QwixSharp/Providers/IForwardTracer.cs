using QwixSharp.Interception;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>Runs the ops of an on-device model, and thus sees its graph: ops and fake-quants, in program order.</summary>
/// <remarks>
/// <para>
/// <see cref="IOpInterceptor.Intercept"/> gets every op that the model runs, with fake-quantized tensors in the places of
/// their originals, and answers with its result: what <see cref="OpCall.Proceed()"/> gives, or tensors that stand for it, on
/// the meta device for instance, where only the graph is wanted. Tensors are known by their object: what is answered is what
/// later calls take.
/// </para>
/// <para>
/// Ops that devices compute as several (SiLU, scaled dot-product attention, addmm) come as these. An op in place whose first
/// operand is fake-quantized comes as three: <c>clone</c> of the operand, the op in place on the copy, and <c>copy_</c> of that
/// into the model's tensor.
/// </para>
/// </remarks>
public interface IForwardTracer : IOpInterceptor
{
    /// <summary>Fake-quantizes a tensor.</summary>
    /// <param name="tensor">An activation, a constant or a weight.</param>
    /// <param name="annotation">Its place and numbers.</param>
    /// <param name="compute">Does it.</param>
    /// <returns>What <paramref name="compute"/> gives, or what stands for it; a new tensor, which is disposed at the end of the forward pass.</returns>
    Tensor FakeQuant(Tensor tensor, FakeQuantAnnotation annotation, Func<Tensor> compute);
}

/// <summary>Makes tracers ambient for the on-device models that run in the same flow of control.</summary>
public static class ForwardTracer
{
    private static readonly AsyncLocal<IForwardTracer?> Ambient = new();

    internal static IForwardTracer? Current => Ambient.Value;

    /// <summary>Lets a tracer run the ops of the on-device models that are called until the result is disposed.</summary>
    /// <param name="tracer">The tracer; it may be called by several threads at once where the model has several.</param>
    /// <returns>Restores what was ambient before. Dispose it in the flow of control that called this.</returns>
    public static IDisposable Enter(IForwardTracer tracer)
    {
        ArgumentNullException.ThrowIfNull(tracer);
        var previous = Ambient.Value;
        Ambient.Value = tracer;
        return new Restorer(previous);
    }

    private sealed class Restorer(IForwardTracer? previous) : IDisposable
    {
        public void Dispose() => Ambient.Value = previous;
    }
}
