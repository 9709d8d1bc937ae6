using QwixSharp.Interception;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Interception;

/// <summary>Short ways to run a model under an interceptor, and to compare tensors bit for bit.</summary>
internal static class Intercepted
{
    internal static Func<object, Tensor, Tensor> Call { get; } =
        Interceptor.Rewrite<Func<object, Tensor, Tensor>>(typeof(Module<Tensor, Tensor>).GetMethod("call")!);

    internal static Tensor Run(Module<Tensor, Tensor> model, Tensor input, IOpInterceptor interceptor)
    {
        using var _ = Interceptor.Enter(model, interceptor);
        return Call(model, input);
    }

    internal static bool BitEqual(Tensor a, Tensor b) =>
        a.dtype == b.dtype && a.shape.SequenceEqual(b.shape) && a.contiguous().bytes.SequenceEqual(b.contiguous().bytes);
}
