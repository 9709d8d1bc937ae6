using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Samples.Digits;

/// <summary>Tells handwritten digits apart. It knows nothing of quantization.</summary>
public sealed class DigitsCnn : Module<Tensor, Tensor>
{
    private readonly Conv2d _conv0 = Conv2d(1, 32, 3, padding: 1);
    private readonly Conv2d _conv1 = Conv2d(32, 64, 3, padding: 1);
    private readonly Linear _hidden = Linear(64 * 4 * 4, 128);
    private readonly Linear _digit = Linear(128, 10);

    /// <summary>A network with random weights.</summary>
    public DigitsCnn() : base(nameof(DigitsCnn))
    {
        register_module("conv0", _conv0);
        register_module("conv1", _conv1);
        register_module("hidden", _hidden);
        register_module("digit", _digit);
    }

    /// <summary>Images, float32 <c>[batch, 1, 8, 8]</c> from 0 to 1, to a number for each digit, <c>[batch, 10]</c>.</summary>
    public override Tensor forward(Tensor images)
    {
        var x = functional.relu(_conv0.forward(images));
        x = functional.max_pool2d(functional.relu(_conv1.forward(x)), 2);
        return _digit.forward(functional.relu(_hidden.forward(x.flatten(1))));
    }
}
