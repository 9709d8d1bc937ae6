using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Benchmarks.Training;

/// <summary>A convolutional network for images of 8 × 8: two convolutions, pooled, and two linear layers; ten classes.</summary>
internal sealed class DigitsCnn : Module<Tensor, Tensor>
{
    private readonly Conv2d conv1 = Conv2d(1, 32, 3, padding: 1);
    private readonly Conv2d conv2 = Conv2d(32, 64, 3, padding: 1);
    private readonly Linear linear1 = Linear(64 * 4 * 4, 128);
    private readonly Linear linear2 = Linear(128, 10);

    internal DigitsCnn() : base(nameof(DigitsCnn)) => RegisterComponents();

    /// <summary>From [batch, 1, 8, 8] to [batch, 10].</summary>
    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        x = functional.relu(conv1.call(x));
        x = functional.max_pool2d(functional.relu(conv2.call(x)), 2);
        x = functional.relu(linear1.call(x.flatten(1)));
        return linear2.call(x).MoveToOuterDisposeScope();
    }
}
