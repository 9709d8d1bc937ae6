using System.Runtime.InteropServices;
using QwixSharp.Providers;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

[Collection(RandomState.Name)]
public class QtProviderTests
{
    private static readonly QuantizationRule[] Dynamic = [new() { WeightQType = "int8", ActQType = "int8" }];
    private static readonly QuantizationRule[] Static = [new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = true }];
    private static readonly QuantizationRule[] Backward = [new QtRule { WeightQType = "int8", ActQType = "int8", BwdQType = "int8", BwdStochasticRounding = RoundingNoise.Uniform }];

    public static TheoryData<string> Optimizers => [.. OptimizerMakers.Keys];

    public static TheoryData<string> Schedulers => [.. SchedulerMakers.Keys];

    private static Dictionary<string, Func<IEnumerable<TorchSharp.Modules.Parameter>, optim.Optimizer>> OptimizerMakers { get; } = new()
    {
        ["SGD"] = p => optim.SGD(p, 0.1, momentum: 0.9),
        ["Adam"] = p => optim.Adam(p, 0.01),
        ["AdamW"] = p => optim.AdamW(p, 0.01),
        ["Adamax"] = p => optim.Adamax(p, 0.01),
        ["NAdam"] = p => optim.NAdam(p, 0.01),
        ["RAdam"] = p => optim.RAdam(p, 0.01),
        ["Adagrad"] = p => optim.Adagrad(p, 0.01),
        ["Adadelta"] = p => optim.Adadelta(p, 0.1),
        ["RMSprop"] = p => optim.RMSProp(p, 0.01),
        ["Rprop"] = p => optim.Rprop(p, 0.01),
        ["ASGD"] = p => optim.ASGD(p, 0.01),
        ["LBFGS"] = p => optim.LBFGS(p, 0.01),
    };

    private static Dictionary<string, Func<optim.Optimizer, optim.lr_scheduler.LRScheduler>> SchedulerMakers { get; } = new()
    {
        ["StepLR"] = o => optim.lr_scheduler.StepLR(o, 1, 0.5),
        ["MultiStepLR"] = o => optim.lr_scheduler.MultiStepLR(o, [1, 2], 0.5),
        ["ExponentialLR"] = o => optim.lr_scheduler.ExponentialLR(o, 0.5),
        ["ConstantLR"] = o => optim.lr_scheduler.ConstantLR(o, 0.5, 3),
        ["LinearLR"] = o => optim.lr_scheduler.LinearLR(o, 0.5, 1, 3),
        ["CosineAnnealingLR"] = o => optim.lr_scheduler.CosineAnnealingLR(o, 4),
        ["PolynomialLR"] = o => optim.lr_scheduler.PolynomialLR(o, 4),
        ["LambdaLR"] = o => optim.lr_scheduler.LambdaLR(o, e => 1.0 / (e + 1)),
        ["MultiplicativeLR"] = o => optim.lr_scheduler.MultiplicativeLR(o, _ => 0.5),
        ["CyclicLR"] = o => optim.lr_scheduler.CyclicLR(o, 0.01, 0.1, cycle_momentum: false),
        ["OneCycleLR"] = o => optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps: 5),
    };

    [Fact]
    public void ParametersAreTheModelsOwn()
    {
        using var scope = NewDisposeScope();
        using var model = Net();
        using var qat = Qwix.QuantizeModel(model, new QtProvider(Static), randn(3, 8));
        var own = model.named_parameters().ToDictionary(p => p.name, p => p.parameter);
        Assert.Equal(own.Keys, qat.named_parameters().Select(p => p.name));
        Assert.All(qat.named_parameters(), p => Assert.Same(own[p.name], p.parameter));
        Assert.Equal(
            model.state_dict().Keys.Concat(["a.dot_general0_lhs.count", "a.dot_general0_lhs.sum_of_absmax", "b.dot_general0_lhs.count", "b.dot_general0_lhs.sum_of_absmax"]).Order(),
            qat.state_dict().Keys.Order());
        Assert.Empty(qat.Weights);
    }

    [Theory]
    [MemberData(nameof(Optimizers))]
    public void EveryOptimizerMakesAStep(string name)
    {
        using var scope = NewDisposeScope();
        using var model = Net();
        var x = randn(6, 8);
        using var qat = Qwix.QuantizeModel(model, new QtProvider(Dynamic), x);
        using var optimizer = OptimizerMakers[name](qat.parameters());
        var before = model.parameters().Select(p => p.detach().clone()).ToList();
        optimizer.step(() =>
        {
            optimizer.zero_grad();
            var loss = qat.call(x).square().mean();
            loss.backward();
            return loss;
        });
        Assert.All(model.parameters().Zip(before), p => Assert.False(p.First.Equals(p.Second)));
    }

    [Theory]
    [MemberData(nameof(Schedulers))]
    public void EverySchedulerGuidesTheOptimizer(string name)
    {
        using var scope = NewDisposeScope();
        using var model = Net();
        var x = randn(6, 8);
        using var qat = Qwix.QuantizeModel(model, new QtProvider(Dynamic), x);
        using var optimizer = optim.SGD(qat.parameters(), 0.1);
        var scheduler = SchedulerMakers[name](optimizer);
        var rates = new HashSet<double>();
        for (int i = 0; i < 4; i++)
        {
            Step(qat, optimizer, x);
            rates.Add(optimizer.ParamGroups.First().LearningRate);
            scheduler.step();
        }

        Assert.True(rates.Count > 1, "the rate did not change");
    }

    [Fact]
    public void TrainingReducesTheLoss()
    {
        using var scope = NewDisposeScope();
        foreach (var rules in new[] { Dynamic, Static, Backward })
        {
            manual_seed(3);
            using var model = Net();
            Tensor x = randn(64, 8), target = (x * x).sum(1, keepdim: true).expand(64, 4);
            using var qat = Qwix.QuantizeModel(model, new QtProvider(rules), x);
            qat.train();
            using var optimizer = optim.Adam(qat.parameters(), 0.01);
            float first = 0, last = 0;
            for (int i = 0; i < 100; i++)
            {
                optimizer.zero_grad();
                var loss = functional.mse_loss(qat.call(x), target);
                loss.backward();
                optimizer.step();
                last = loss.item<float>();
                if (i == 0)
                    first = last;
            }

            Assert.True(last < first / 3, $"{first} to {last} with {rules[0]}");
        }
    }

    [Fact]
    public void GradientsAddUpAndAreClipped()
    {
        using var scope = NewDisposeScope();
        using var model = Net();
        Tensor a = randn(4, 8), b = randn(4, 8);
        using var qat = Qwix.QuantizeModel(model, new QtProvider(Dynamic), a);
        List<Tensor> Gradients(params Tensor[] batches)
        {
            qat.zero_grad();
            foreach (var batch in batches)
                qat.call(batch).square().sum().backward();
            return [.. qat.parameters().Select(p => p.grad!.clone())];
        }

        var both = Gradients(a, b);
        foreach (var (sum, first, second) in both.Zip(Gradients(a), Gradients(b)))
            Assert.True(sum.allclose(first + second, 1e-4, 1e-5));
        double norm = nn.utils.clip_grad_norm_(qat.parameters(), 0.01);
        Assert.True(norm > 0.01);
        Assert.Equal(0.01, Math.Sqrt(qat.parameters().Sum(p => p.grad!.square().sum().item<float>())), 1e-4);
    }

    [Theory]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Float64)]
    public void ParametersOfOtherDtypesTrainBesideOthers(ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        using var inner = Sequential(("a", Linear(8, 16)), ("act", ReLU(inplace: true)), ("b", Linear(16, 4)));
        inner.to(dtype);
        using var model = new Mixture(inner, dtype);
        using var qat = Qwix.QuantizeModel<Tensor, Tensor>(model, new QtProvider(Dynamic), randn(3, 8));
        qat.call(randn(3, 8)).square().mean().backward();
        Assert.All(model.parameters(), p => Assert.Equal(p.dtype, p.grad!.dtype));
        Assert.All(model.parameters(), p => Assert.True(p.grad!.ne(0).any().item<bool>()));
    }

    [Fact]
    public void TrainingResumesFromACheckpointBitForBit()
    {
        using var scope = NewDisposeScope();
        using var oneThread = new OneThread();
        Tensor[] batches = [.. Enumerable.Range(0, 6).Select(_ => randn(4, 8))];
        using var model = Net();
        using var qat = Qwix.QuantizeModel(model, new QtProvider(Static), batches[0]);
        qat.train();
        using var optimizer = optim.Adam(qat.parameters(), 0.01);
        foreach (var batch in batches[..3])
            Step(qat, optimizer, batch);
        using var file = new MemoryStream();
        qat.save(file);
        using var moments = new MemoryStream();
        optimizer.save_state_dict(new BinaryWriter(moments));
        var expected = batches[3..].Select(b => Step(qat, optimizer, b)).ToList();

        using var fresh = Net();
        using var resumed = Qwix.QuantizeModel(fresh, new QtProvider(Static), batches[5]);
        resumed.load(new MemoryStream(file.ToArray()));
        resumed.train();
        using var second = optim.Adam(resumed.parameters(), 0.01);
        second.load_state_dict(new BinaryReader(new MemoryStream(moments.ToArray())));
        Assert.Equal(expected, batches[3..].Select(b => Step(resumed, second, b)));
    }

    [Fact]
    public void NoiseComesFromTheGenerator()
    {
        using var scope = NewDisposeScope();
        using var model = Net();
        var x = randn(16, 8);
        byte[] Gradient(ulong seed)
        {
            using var generator = new Generator(seed);
            using var qt = Qwix.QuantizeModel(model, new QtProvider(Backward) { Generator = generator }, x);
            qt.zero_grad();
            qt.call(x).square().mean().backward();
            return model.parameters().First().grad!.bytes.ToArray();
        }

        Assert.Equal(Gradient(1), Gradient(1));
        Assert.NotEqual(Gradient(1), Gradient(2));
    }

    [Fact]
    public void WhatABackwardPassCannotDoIsRefusedForwards()
    {
        using var scope = NewDisposeScope();
        using var model = Net();
        var x = randn(6, 8);
        void Refused(string module, string part, QtRule rule)
        {
            using var qt = Qwix.QuantizeModel(model, new QtProvider([rule]), x);
            var error = Assert.Throws<QwixException>(() => qt.call(x));
            Assert.Contains($"\"{module}\"", error.Message);
            Assert.Contains(part, error.Message);
        }

        Refused("a", "zero point", new() { WeightQType = "int8", ActQType = "int8", BwdQType = "int8", ActCalibrationMethod = "minmax" });
        // The first layer's input needs no gradient, and so no product with its weight.
        Refused("b", "nf4", new() { WeightQType = "nf4", BwdQType = "int8" });
        Refused("a", "does not divide", new() { WeightQType = "int8", BwdQType = "int8", BwdWeightGradTileSize = 4 });
        Assert.Throws<RuleException>(() => new QtProvider([new QtRule { WeightQType = "int8", BwdStochasticRounding = RoundingNoise.Uniform }]));
        Assert.Throws<RuleException>(() => new QtProvider([new QtRule { WeightQType = "int8", BwdQType = "fp8", BwdCalibrationMethod = "minmax" }]));
    }

    [Fact]
    public void TrainingThroughAPtqModelIsRefused()
    {
        using var scope = NewDisposeScope();
        using var model = Net();
        var x = randn(6, 8);
        foreach (var rules in new QuantizationRule[][] { Dynamic, [new() { WeightQType = "int8" }] })
        {
            using var ptq = Qwix.QuantizeModel(model, new PtqProvider(rules), x);
            ptq.train();
            var loss = ptq.call(x).square().mean();
            var error = Assert.Throws<ExternalException>(() => loss.backward());
            Assert.Contains("dot_general0 in module 'b'", error.Message);
            Assert.Contains("QtProvider", error.Message);
            // The next one is not blamed for it.
            using var qat = Qwix.QuantizeModel(model, new QtProvider(rules), x);
            qat.call(x).square().mean().backward();
        }
    }

    [Fact]
    public void AWeightThatIsWrittenToBeforeTheBackwardPassIsAnError()
    {
        using var scope = NewDisposeScope();
        using var model = Net();
        var x = randn(6, 8);
        using var qat = Qwix.QuantizeModel(model, new QtProvider(Dynamic), x);
        var loss = qat.call(x).square().mean();
        using (no_grad())
            model.get_parameter("b.weight")!.add_(1);
        Assert.Contains("modified by an inplace operation", Assert.Throws<ExternalException>(() => loss.backward()).Message);
    }

    [Fact]
    public void AThousandStepsLeaveNothingBehind()
    {
        using var oneThread = new OneThread();
        using var model = Sequential(("conv", Conv2d(2, 8, 3)), ("act", ReLU()), ("flat", Flatten()), ("fc", Linear(8 * 16, 4)));
        using var x = randn(4, 2, 6, 6);
        foreach (var rules in new[] { Static, Backward })
        {
            using var qat = Qwix.QuantizeModel(model, new QtProvider(rules), x);
            qat.train();
            using var optimizer = optim.SGD(qat.parameters(), 1e-3);
            void Steps(int count)
            {
                for (int i = 0; i < count; i++)
                {
                    using var scope = NewDisposeScope();
                    Step(qat, optimizer, x);
                }
            }

            Steps(20);
            long before = DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
            Steps(1000);
            Assert.Equal(before, DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount);
        }
    }

    [Fact]
    public void AThousandStepsHoldMemoryFlat()
    {
        using var oneThread = new OneThread();
        using var model = Sequential(("a", Linear(256, 256)), ("act", ReLU()), ("b", Linear(256, 256)));
        using var x = randn(8, 256);
        using var qat = Qwix.QuantizeModel(model, new QtProvider(Static), x);
        qat.train();
        using var optimizer = optim.SGD(qat.parameters(), 1e-3);
        long Resident(int steps)
        {
            for (int i = 0; i < steps; i++)
                Step(qat, optimizer, x);
            GC.Collect();
            GC.WaitForPendingFinalizers();
            using var process = System.Diagnostics.Process.GetCurrentProcess();
            return process.WorkingSet64;
        }

        long before = Resident(200), after = Resident(1000);
        // One weight's gradient, or its codes, left behind by every step would be 256 or 64 MB.
        Assert.True(after - before < 48L << 20, $"{(after - before) >> 20} MB more after 1,000 steps");
    }

    [Theory]
    [InlineData(null)]
    [InlineData("int8")]
    public void EveryParameterOfEveryKindOfModuleGetsItsGradient(string? backward)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(5);
        using var model = new Mixed();
        using (no_grad())
        {
            foreach (var (_, parameter) in model.named_parameters())
                parameter.copy_(0.3 * randn(parameter.shape, generator: generator));
        }

        // Without dropout the two differ by rounding alone.
        model.eval();

        var ids = arange(12, ScalarType.Int64).reshape(2, 6) * 3;
        model.call(ids).square().sum().backward();
        var plain = model.named_parameters().Where(p => p.parameter.grad is not null).ToDictionary(p => p.name, p => p.parameter.grad!.clone());
        model.zero_grad();
        using var qt = Qwix.QuantizeModel(model, new QtProvider([new QtRule { WeightQType = "int8", ActQType = "int8", BwdQType = backward }]), ids);
        qt.call(ids).square().sum().backward();
        foreach (var (name, parameter) in qt.named_parameters().Where(p => plain.ContainsKey(p.name)))
        {
            // A gradient may be nothing but rounding where the exact one is zero, as that of a bias before a softmax is.
            if (plain[name].abs().max().item<float>() > 1e-4f)
                Assert.True(Golden.GoldenValue.Snr(plain[name], parameter.grad!) > 15, $"{name}: {Golden.GoldenValue.Snr(plain[name], parameter.grad!):f1} dB");
        }
    }

    [Fact]
    public void AnAbstractModelHasShapes()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("conv", Conv2d(2, 8, 3, device: META)), ("flat", Flatten()), ("fc", Linear(8 * 16, 4, device: META)));
        using var qat = Qwix.QuantizeModel(model, new QtProvider(Static), randn(4, 2, 6, 6));
        Assert.Equal([4L, 4], qat.call(empty([4, 2, 6, 6], device: META)).shape);
    }

    private static TorchSharp.Modules.Sequential Net() => Sequential(("a", Linear(8, 16)), ("act", ReLU()), ("b", Linear(16, 4)));

    private static float Step(nn.Module<Tensor, Tensor> model, optim.Optimizer optimizer, Tensor x)
    {
        using var scope = NewDisposeScope();
        optimizer.zero_grad();
        var loss = model.call(x).square().mean();
        loss.backward();
        optimizer.step();
        return loss.item<float>();
    }

    /// <summary>Lets libtorch use one thread for a while.</summary>
    private sealed class OneThread : IDisposable
    {
        private readonly int _before = get_num_threads();

        public OneThread() => set_num_threads(1);

        public void Dispose() => set_num_threads(_before);
    }

    /// <summary>A float32 layer around layers of another dtype.</summary>
    private sealed class Mixture : nn.Module<Tensor, Tensor>
    {
        private readonly nn.Module<Tensor, Tensor> inner;
        private readonly TorchSharp.Modules.Linear head = Linear(4, 2);
        private readonly ScalarType _dtype;

        public Mixture(nn.Module<Tensor, Tensor> inner, ScalarType dtype) : base("mixture")
        {
            (this.inner, _dtype) = (inner, dtype);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) => head.call(inner.call(x.to(_dtype)).to(ScalarType.Float32));
    }
}
