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

    /// <summary>Each image has the scale of its own values.</summary>
    private static readonly QuantizationRule Dynamic = new() { WeightQType = "int8", ActQType = "int8" };

    public static TheoryData<string, bool> Networks() =>
        new(from name in new[] { "resnet18", "mobilenet_v2", "mobilenet_v3_small", "resnet50" } from isDynamic in new[] { false, true } select (name, isDynamic));

    [Theory]
    [MemberData(nameof(Networks))]
    public void NetworksOfTorchVisionGiveTheSame(string name, bool isDynamic)
    {
        using var scope = NewDisposeScope();
        manual_seed(1);
        Module<Tensor, Tensor> network = name switch
        {
            "resnet18" => torchvision.models.resnet18(),
            "resnet50" => torchvision.models.resnet50(),
            "mobilenet_v3_small" => torchvision.models.mobilenet_v3_small(),
            _ => torchvision.models.mobilenet_v2(),
        };
        network.eval();
        RandomizeNorms(network);
        AssertSame(network, randn(2, 3, 64, 64), 0.02, isDynamic ? Dynamic : Static);
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

    /// <summary>Each activation in the ways that TorchSharp has for it.</summary>
    private static readonly Dictionary<string, Func<Tensor, Tensor>> Activations = new()
    {
        ["relu"] = x => x.relu(),
        ["relu6"] = x => functional.relu6(x),
        ["relu6 in place"] = x => functional.relu6(x, inplace: true),
        ["ReLU6"] = x => { using var module = ReLU6(); return module.call(x); },
        ["clamp"] = x => x.clamp(-0.3, 0.7),
        ["clamp to whole numbers"] = x => clamp(x, -1, 1),
        ["clamp from below"] = x => x.clamp(-0.25, null),
        ["clamp from above"] = x => x.clamp_max(0.4),
        ["clamp to nothing"] = x => x.clamp(0.5, -0.5),
        ["clip"] = x => x.clip(0, 0.5),
        ["clamp in place"] = x => { x.clamp_(-0.2, 0.9); return x; },
        ["hardtanh in place"] = x => functional.hardtanh(x, -0.1, 0.6, inplace: true),
        ["hardswish"] = x => functional.hardswish(x * 4),
        ["hardswish of a convolution"] = x => x.hardswish(),
        ["hardsigmoid"] = x => functional.hardsigmoid(x, inplace: true),
    };

    public static TheoryData<string, string> ActivationsAndCalibrations() =>
        new(from name in Activations.Keys from method in new[] { "absmax", "minmax", "dynamic" } select (name, method));

    [Theory]
    [MemberData(nameof(ActivationsAndCalibrations))]
    public void ActivationsGiveTheSameBitForBit(string name, string method)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(6);
        var network = new Activated(Activations[name]);
        network.eval();
        var images = randn(2, 8, 11, 9);
        var rule = method == "dynamic" ? Dynamic : Static with { ActCalibrationMethod = method };
        using var plain = Qwix.QuantizeModel(network, new PtqProvider([rule]) { FusesOps = false }, images);
        using var fused = Qwix.QuantizeModel(network, new PtqProvider([rule]), images);
        foreach (var value in new[] { 1f, 50f, float.NaN, float.NegativeInfinity })
        {
            images[1, 3, 5, 5] = value;
            Tensor expected = plain.call(images), actual = fused.call(images);
            Assert.True(expected.isnan().Equals(actual.isnan()));
            Assert.True(expected.nan_to_num().Equals(actual.nan_to_num()), $"{(expected - actual).abs().max().item<float>()} with {value}");
        }
    }

    [Fact]
    public void GatesMultiplyWholeChannels()
    {
        using var scope = NewDisposeScope();
        manual_seed(7);
        AssertSame(new Gated(), randn(3, 8, 10, 12), 1e-3, Static);
        AssertSame(new Gated(), randn(3, 8, 10, 12), 1e-2, Dynamic);
    }

    [Fact]
    public void OpsInPlaceChangeWhatTheModelSees()
    {
        using var scope = NewDisposeScope();
        manual_seed(2);
        AssertSame(new InPlace(), randn(1, 8, 12, 12), 1e-3, Static);
        AssertSame(new InPlace(), randn(3, 8, 12, 12), 1e-2, Dynamic);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ImagesWithoutCodesGiveWhatTheOpsOneByOneGive(bool isDynamic)
    {
        var rule = isDynamic ? Dynamic : Static;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(3);
        var network = new InPlace();
        network.eval();
        var images = randn(2, 8, 12, 12);
        using var plain = Qwix.QuantizeModel(network, new PtqProvider([rule]) { FusesOps = false }, images);
        using var fused = Qwix.QuantizeModel(network, new PtqProvider([rule]), images);
        foreach (var value in new[] { float.NaN, float.PositiveInfinity })
        {
            var odd = images.clone();
            odd[0, 3, 5, 5] = value;
            Tensor expected = plain.call(odd), actual = fused.call(odd);
            Assert.True(expected.isnan().Equals(actual.isnan()));
            Assert.True(expected.nan_to_num().allclose(actual.nan_to_num(), rtol: 1e-3, atol: 1e-3));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void NothingLeaks(bool isDynamic)
    {
        using var network = new InPlace();
        network.eval();
        using var noGrad = no_grad();
        using var images = randn(1, 8, 12, 12);
        using var fused = Qwix.QuantizeModel(network, new PtqProvider([isDynamic ? Dynamic : Static]), images);
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

    private static void AssertSame(Module<Tensor, Tensor> network, Tensor images, double tolerance, QuantizationRule rule)
    {
        using var noGrad = no_grad();
        using var plain = Qwix.QuantizeModel(network, new PtqProvider([rule]) { FusesOps = false }, images);
        using var fused = Qwix.QuantizeModel(network, new PtqProvider([rule]), images);
        var expected = plain.call(images);
        for (int run = 0; run < 3; run++)
        {
            using var actual = fused.call(images);
            // Sums of floats in another order give another code now and then.
            var error = (expected - actual).norm().item<float>() / expected.norm().item<float>();
            Assert.True(error <= tolerance, $"relative error {error} in run {run}");
        }
    }

    /// <summary>Activations behind a convolution whose channels fill no panel, a depthwise one, and an addition.</summary>
    private sealed class Activated : Module<Tensor, Tensor>
    {
        private readonly Func<Tensor, Tensor> activation;
        private readonly TorchSharp.Modules.Conv2d first = Conv2d(8, 21, 3, padding: 1);
        private readonly TorchSharp.Modules.Conv2d depthwise = Conv2d(21, 21, 3, padding: 1, groups: 21);
        private readonly TorchSharp.Modules.Conv2d last = Conv2d(21, 21, 1);

        internal Activated(Func<Tensor, Tensor> activation) : base(nameof(Activated))
        {
            this.activation = activation;
            RegisterComponents();
        }

        public override Tensor forward(Tensor input)
        {
            var x = activation(first.call(input));
            var y = activation(depthwise.call(x));
            return activation(last.call(y) + x);
        }
    }

    /// <summary>Squeeze and excitation: one number for each channel, found of their means; beside products that are none of it.</summary>
    private sealed class Gated : Module<Tensor, Tensor>
    {
        private readonly TorchSharp.Modules.Conv2d first = Conv2d(8, 20, 3, padding: 1);
        private readonly TorchSharp.Modules.Conv2d squeeze = Conv2d(20, 8, 1);
        private readonly TorchSharp.Modules.Conv2d excite = Conv2d(8, 20, 1);
        private readonly TorchSharp.Modules.Conv2d last = Conv2d(20, 12, 3);

        internal Gated() : base(nameof(Gated)) => RegisterComponents();

        public override Tensor forward(Tensor input)
        {
            var x = functional.hardswish(first.call(input), inplace: true);
            var gate = functional.hardsigmoid(excite.call(squeeze.call(functional.adaptive_avg_pool2d(x, (1, 1))).relu()));
            var y = last.call(gate * x);
            var z = last.call(x * gate + x);
            // No gate, one that is no op on images, and the gate's own product.
            return y * z + y * functional.adaptive_avg_pool2d(z, 1).sigmoid() + (gate * gate).mean();
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
