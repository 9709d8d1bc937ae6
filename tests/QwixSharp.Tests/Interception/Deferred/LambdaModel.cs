using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Interception.Deferred;

/// <summary>A model that is one piece of code, with a field to keep a tensor in.</summary>
internal sealed class LambdaModel(Func<LambdaModel, Tensor, Tensor> code) : Module<Tensor, Tensor>(nameof(LambdaModel))
{
    internal Tensor? Kept { get; set; }

    internal Tensor[]? KeptArray { get; set; }

    public override Tensor forward(Tensor x) => code(this, x);
}
