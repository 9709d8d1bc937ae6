using QwixSharp.Providers;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>Convolutions and what follows them, computed in one pass, against the same ops one by one.</summary>
public class FusedImagesTests
{
    private static readonly QuantizationRule Static = new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = true };

    public static TheoryData<string> Networks() => ["resnet18", "mobilenet_v2", "resnet50"];

    [Theory]
    [MemberData(nameof(Networks))]
    public void NetworksOfTorchVisionGiveTheSame(string name)
    {
        using var scope = NewDisposeScope();
        manual_seed(1);
        Module<Tensor, Tensor> network = name switch
        {
            "resnet18" => torchvision.models.resnet18(),
            "resnet50" => torchvision.models.resnet50(),
            _ => torchvision.models.mobilenet_v2(),
        };
        network.eval();
        RandomizeNorms(network);
        AssertSame(network, randn(2, 3, 64, 64), 0.02);
    }

    private static void AssertSame(Module<Tensor, Tensor> network, Tensor images, double tolerance)
    {
        using var noGrad = no_grad();
        using var plain = Qwix.QuantizeModel(network, new PtqProvider([Static]) { FusesOps = false }, images);
        using var fused = Qwix.QuantizeModel(network, new PtqProvider([Static]), images);
        var expected = plain.call(images);
        for (int run = 0; run < 3; run++)
        {
            using var actual = fused.call(images);
            // Sums of floats in another order give another code now and then.
            var error = (expected - actual).norm().item<float>() / expected.norm().item<float>();
            Assert.True(error <= tolerance, $"relative error {error} in run {run}");
        }
    }

    /// <summary>Batch norms as after training, so that a wrong one is seen.</summary>
    private static void RandomizeNorms(Module network)
    {
        using var noGrad = no_grad();
        foreach (var (name, values) in network.state_dict())
        {
            if (name.EndsWith("running_mean", StringComparison.Ordinal))
                values.normal_(0, 0.1);
            else if (name.EndsWith("running_var", StringComparison.Ordinal))
                values.uniform_(0.5, 1.5);
        }
    }
}
