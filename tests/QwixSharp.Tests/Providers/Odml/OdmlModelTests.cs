using QwixSharp.Interception;
using QwixSharp.Providers;
using QwixSharp.Tests.Interception;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers.Odml;

/// <summary>Whole models: training, evaluation, state, conversion, tracing.</summary>
public class OdmlModelTests
{
    [Fact]
    public void TrainingMakesTheLossFall()
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(3);
        var x = randn([64, 8], generator: generator);
        var y = x.narrow(1, 0, 1).mul(x.narrow(1, 1, 1)).tanh();
        using var model = Sequential(("a", Linear(8, 32)), ("act", SiLU()), ("norm", LayerNorm(32)), ("b", Linear(32, 1)));
        using var qat = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8), x);
        qat.train();
        using var optimizer = optim.Adam(qat.parameters(), 0.02);
        List<float> losses = [];
        for (int step = 0; step < 60; step++)
        {
            using var inner = NewDisposeScope();
            optimizer.zero_grad();
            var loss = functional.mse_loss(qat.call(x), y);
            loss.backward();
            optimizer.step();
            losses.Add(loss.item<float>());
        }

        Assert.True(losses[^1] < 0.3 * losses[0], $"from {losses[0]} to {losses[^1]}");
        Assert.Equal(60, qat.QuantStats.ToTensors()["a.dot_general0_lhs.count"].item<int>());
    }

    [Fact]
    public void TheGradientPassesInsideOfTheRangeAlone()
    {
        using var scope = NewDisposeScope();
        using var model = new Functional(ones(1), (_, x) => x.exp());
        using var qat = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8, fixedRangeForInputs: (-1, 1), fixedRangeForOutputs: (0, 100)), zeros(1, 3));
        qat.train();
        var x = tensor(new float[] { -2, 0.5f, 2 }).view(1, 3);
        x.requires_grad = true;
        qat.call(x).sum().backward();
        Assert.Equal([0, 1.65f, 0], x.grad!.data<float>().ToArray().Select(g => MathF.Round(g, 2)));
    }

    [Fact]
    public void OpsInPlaceCanBeTrainedThrough()
    {
        using var scope = NewDisposeScope();
        using var model = new Functional(rand(8, 8), (m, x) =>
        {
            var y = functional.linear(x, m.W);
            y.add_(x);
            y = functional.hardswish(y, inplace: true);
            return y.mul_(0.5) + x;
        });
        using var qat = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8), rand(2, 8));
        qat.train();
        qat.call(rand(2, 8)).sum().backward();
        Assert.True(model.W.grad!.abs().sum().item<float>() > 0);
    }

    [Fact]
    public void StatisticsAreFrozenInEvaluationAndPartOfTheState()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("a", Linear(8, 8)), ("act", ReLU()), ("b", Linear(8, 2)));
        using var qat = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8), rand(4, 8));
        qat.train();
        qat.call(rand(4, 8));
        qat.eval();
        var probe = rand(4, 8) * 3;
        var expected = qat.call(probe);
        qat.call(rand(4, 8) * 100);
        Assert.Equal(expected.bytes.ToArray(), qat.call(probe).bytes.ToArray());
        Assert.Equal(1, qat.QuantStats.ToTensors()["a.dot_general0_lhs.count"].item<int>());

        using var other = Sequential(("a", Linear(8, 8)), ("act", ReLU()), ("b", Linear(8, 2)));
        using var loaded = Qwix.QuantizeModel(other, new OdmlQatProvider(OnDevice.Int8), rand(4, 8));
        loaded.load_state_dict(qat.state_dict());
        loaded.eval();
        Assert.Equal(expected.bytes.ToArray(), loaded.call(probe).bytes.ToArray());
    }

    [Fact]
    public void AFixedRangeOfInputsIsKept()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("a", Linear(8, 8)));
        using var qat = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8, fixedRangeForInputs: (0, 1)), rand(4, 8));
        qat.train();
        for (int i = 0; i < 3; i++)
            qat.call(rand(4, 8) * 7);
        var stats = qat.QuantStats.ToTensors();
        Assert.Equal((1, 1f), (stats["a.dot_general0_lhs.count"].item<int>(), stats["a.dot_general0_lhs.sum_of_max"].item<float>()));
    }

    [Fact]
    public void ATrainedModelIsConvertedAsItIs()
    {
        using var scope = NewDisposeScope();
        // A conversion rounds biases to the codes of the device: without any, the numbers are those of training.
        using var model = Sequential(("a", Linear(8, 8, hasBias: false)), ("act", GELU()), ("b", Linear(8, 2, hasBias: false)));
        var x = rand(4, 8);
        using var qat = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8), x);
        OnDevice.Calibrate(qat, x);
        using var conversion = Qwix.QuantizeModel(qat, new OdmlConversionProvider(OnDevice.Int8, model.state_dict(), qat.QuantStats, roundAsDevice: false), x);
        Assert.Equal(qat.call(x).data<float>().ToArray(), conversion.call(x).data<float>().ToArray()); // zeros may differ in sign
    }

    [Fact]
    public void ThePlacesOfNativeModulesAreTheirs()
    {
        using var scope = NewDisposeScope();
        using var model = new TransformerModel();
        var (expected, actual, provider) = OnDevice.Convert(model, rand(5, 2, 16), OnDevice.Int8);
        Assert.InRange(Golden.GoldenValue.Snr(expected, actual), 20, 80);
        Assert.Contains(provider.FakeQuants, q => q.WeightName == "layer.linear1.weight" && q.Scale.Count == 32);
        Assert.DoesNotContain(provider.FakeQuants, q => q.ModulePath.Contains('?'));
    }

    [Theory]
    [InlineData("resnet18")]
    [InlineData("mobilenet_v3_small")]
    [InlineData("googlenet")]
    public void ModelsOfTorchVisionAreKnownInFull(string name)
    {
        using var scope = NewDisposeScope();
        using var model = TorchVisionTests.Make(name);
        using var generator = new Generator(17);
        var (expected, actual, provider) = OnDevice.Convert(model, randn(TorchVisionTests.InputShape(name), generator: generator), OnDevice.Int8);
        Assert.InRange(Golden.GoldenValue.Snr(expected, actual), 8, 80);
        Assert.Equal(TorchVisionTests.LayerPaths(model).Order(), provider.FakeQuants.Where(q => q.WeightName is not null).Select(q => q.ModulePath).Order());
    }

    [Fact]
    public void SeveralInputsAndResultsAreSeen()
    {
        using var scope = NewDisposeScope();
        using var model = new TwoInputs();
        using var qat = Qwix.QuantizeModel<Tensor, Tensor, (Tensor, Tensor[])>(model, new OdmlQatProvider(OnDevice.Int8), rand(2, 8), rand(2, 8));
        Assert.Equal(["add0_lhs", "add0_rhs", "add1_lhs", "final_output0", "final_output1", "final_output2"], qat.QuantStats.Places);
        var (sum, rest) = qat.call(rand(2, 8), rand(2, 8));
        Assert.Equal(2, rest.Length);
        Assert.Equal([2L, 8], sum.shape);
    }

    [Fact]
    public void ATracerSeesTheGraph()
    {
        using var scope = NewDisposeScope();
        // A bias is rounded to the codes of the device where nobody traces.
        using var model = Sequential(("a", Linear(8, 8, hasBias: false)), ("act", SiLU()));
        var x = rand(4, 8);
        using var qat = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8), x);
        OnDevice.Calibrate(qat, x);
        using var conversion = Qwix.QuantizeModel(model, new OdmlConversionProvider(OnDevice.Int8, model.state_dict(), qat.QuantStats, roundAsDevice: false), x);
        conversion.eval();
        var expected = conversion.call(x);
        var tracer = new Recorder();
        Tensor actual;
        using (ForwardTracer.Enter(tracer))
            actual = conversion.call(x);
        Assert.Equal(["quantize a.dot_general0_lhs", "quantize a.dot_general0_rhs", "linear", "quantize act.silu0", "sigmoid", "quantize act.silu0_sigmoid", "mul", "quantize final_output0", "alias"], tracer.Seen);
        Assert.Equal(expected.bytes.ToArray(), actual.bytes.ToArray());
        Assert.Empty(tracer.Unknown);
        tracer.Seen.Clear();
        conversion.call(x);
        Assert.Empty(tracer.Seen);
    }

    private sealed class Recorder : IForwardTracer
    {
        private readonly HashSet<Tensor> _known = new(ReferenceEqualityComparer.Instance);

        public List<string> Seen { get; } = [];

        /// <summary>Operands other than parameters and the input, which no op or fake-quant has given.</summary>
        public List<string> Unknown { get; } = [];

        public bool Wants(OpDescriptor op) => true;

        public object? Intercept(in OpCall call)
        {
            Seen.Add(call.Op.Method.Name);
            foreach (var operand in call.Arguments.OfType<Tensor>().Where(t => t is not TorchSharp.Modules.Parameter && !_known.Contains(t)))
                Unknown.Add($"{call.Op.Name} {operand}");
            var result = call.Proceed();
            _known.Add((Tensor)result!);
            return result;
        }

        public Tensor FakeQuant(Tensor tensor, FakeQuantAnnotation annotation, Func<Tensor> compute)
        {
            Seen.Add("quantize " + annotation.Place);
            var result = compute();
            _known.Add(result);
            return result;
        }
    }

    private sealed class TransformerModel : Module<Tensor, Tensor>
    {
        private readonly TorchSharp.Modules.TransformerEncoderLayer layer = TransformerEncoderLayer(16, 4, 32, 0);

        public TransformerModel() : base("transformer") => RegisterComponents();

        public override Tensor forward(Tensor x) => layer.call(x);
    }

    private sealed class TwoInputs() : Module<Tensor, Tensor, (Tensor, Tensor[])>("two")
    {
        public override (Tensor, Tensor[]) forward(Tensor a, Tensor b) => (a + b, [a.relu() + 0, b.exp()]);
    }
}
