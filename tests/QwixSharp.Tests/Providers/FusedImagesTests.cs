using QwixSharp.Providers;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>Convolutions and what follows them, computed in one pass, against the same ops one by one.</summary>
[Collection(RandomState.Name)]
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

    /// <summary>Fresh pages of the managed heap are dear in virtual machines: what an op takes is bounded.</summary>
    [Fact]
    public void ARunAllocatesLittle()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(6);
        var network = torchvision.models.resnet18();
        network.eval();
        var images = randn(1, 3, 64, 64);
        using var quantized = Qwix.QuantizeModel(network, new PtqProvider([Static]), images);
        for (int run = 0; run < 3; run++)
            quantized.call(images).Dispose();
        long before = GC.GetAllocatedBytesForCurrentThread();
        quantized.call(images).Dispose();
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 1, 40_000);
    }

    [Fact]
    public void OpsInPlaceChangeWhatTheModelSees()
    {
        using var scope = NewDisposeScope();
        manual_seed(2);
        AssertSame(new InPlace(), randn(1, 8, 12, 12), 1e-3);
    }

    [Fact]
    public void ImagesWithoutCodesGiveWhatTheOpsOneByOneGive()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(3);
        var network = new InPlace();
        network.eval();
        var images = randn(2, 8, 12, 12);
        using var plain = Qwix.QuantizeModel(network, new PtqProvider([Static]) { FusesOps = false }, images);
        using var fused = Qwix.QuantizeModel(network, new PtqProvider([Static]), images);
        foreach (var value in new[] { float.NaN, float.PositiveInfinity })
        {
            var odd = images.clone();
            odd[0, 3, 5, 5] = value;
            Tensor expected = plain.call(odd), actual = fused.call(odd);
            Assert.True(expected.isnan().Equals(actual.isnan()));
            Assert.True(expected.nan_to_num().allclose(actual.nan_to_num(), rtol: 1e-3, atol: 1e-3));
        }
    }

    [Fact]
    public void NothingLeaks()
    {
        using var network = new InPlace();
        network.eval();
        using var noGrad = no_grad();
        using var images = randn(1, 8, 12, 12);
        using var fused = Qwix.QuantizeModel(network, new PtqProvider([Static]), images);
        // The model disposes nothing of its own.
        void Run()
        {
            using var scope = NewDisposeScope();
            fused.call(images);
        }

        Run();
        long before = Tensor.TotalCount;
        for (int run = 0; run < 5; run++)
            Run();
        Assert.Equal(before, Tensor.TotalCount);
    }

    [Fact]
    public void ThreadsRunTheSameModel()
    {
        using var scope = NewDisposeScope();
        manual_seed(4);
        var network = new InPlace();
        network.eval();
        var images = randn(1, 8, 12, 12);
        using var fused = Qwix.QuantizeModel(network, new PtqProvider([Static]), images);
        Tensor Run()
        {
            using var noGrad = no_grad();
            return fused.call(images).DetachFromDisposeScope();
        }

        var expected = Run();
        Parallel.For(0, 8, _ =>
        {
            using var actual = Run();
            Assert.True(expected.Equals(actual));
        });
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

    /// <summary>Writes over values that others still read, directly and through an alias.</summary>
    private sealed class InPlace : Module<Tensor, Tensor>
    {
        private readonly TorchSharp.Modules.Conv2d first = Conv2d(8, 16, 3, padding: 1);
        private readonly TorchSharp.Modules.Conv2d second = Conv2d(16, 16, 3, padding: 1, stride: 2);
        private readonly TorchSharp.Modules.Conv2d third = Conv2d(16, 16, 1, stride: 2);
        private readonly TorchSharp.Modules.BatchNorm2d norm = BatchNorm2d(16);
        private readonly TorchSharp.Modules.ReLU relu = ReLU(inplace: true);

        internal InPlace() : base(nameof(InPlace)) => RegisterComponents();

        public override Tensor forward(Tensor input)
        {
            var x = norm.call(first.call(input));
            var doubled = x + x;
            var rectified = relu.call(x);
            var y = second.call(rectified);
            y.add_(third.call(doubled)).relu_();
            // x is what relu has left of it.
            return y + functional.max_pool2d(x, [2L, 2L]) + functional.relu6(y);
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
