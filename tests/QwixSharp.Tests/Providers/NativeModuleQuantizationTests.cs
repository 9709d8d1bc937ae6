using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Golden;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>The modules that TorchSharp runs in C++, inside a user's model: their parameters are quantized as any other.</summary>
public class NativeModuleQuantizationTests
{
    private const long Width = 16;

    private static readonly Dictionary<string, Case> Cases = new()
    {
        ["attention to itself"] = new(() => MultiheadAttention(Width, 4), (m, x) => ((MultiheadAttention)m).call(x, x, x).Item1, Sequence, "in_proj_weight", "out_proj.weight"),
        ["attention to another"] = new(() => MultiheadAttention(Width, 4), (m, x) => ((MultiheadAttention)m).call(x.flip(0), x, x).Item1, Sequence, "in_proj_weight.narrow(0,0,16)", "in_proj_weight.narrow(0,16,32)", "out_proj.weight"),
        ["attention, three inputs"] = new(() => MultiheadAttention(Width, 4), (m, x) => ((MultiheadAttention)m).call(x.flip(0), x, x * 2).Item1, Sequence, "in_proj_weight.narrow(0,0,16)", "in_proj_weight.narrow(0,16,16)", "in_proj_weight.narrow(0,32,16)", "out_proj.weight"),
        ["attention of other widths"] = new(() => MultiheadAttention(Width, 4, kdim: 8, vdim: 8), (m, x) => ((MultiheadAttention)m).call(x, x.narrow(2, 0, 8), x.narrow(2, 8, 8)).Item1, Sequence, "q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"),
        ["encoder layer"] = new(() => TransformerEncoderLayer(Width, 4, 32), (m, x) => ((TransformerEncoderLayer)m).call(x), Sequence, EncoderLayer("")),
        ["encoder"] = new(() => TransformerEncoder(TransformerEncoderLayer(Width, 4, 32), 2), (m, x) => ((TransformerEncoder)m).call(x, null!, null!), Sequence, [.. EncoderLayer("layers.0."), .. EncoderLayer("layers.1.")]),
        ["decoder layer"] = new(() => TransformerDecoderLayer(Width, 4, 32), (m, x) => ((TransformerDecoderLayer)m).call(x, x.flip(0), null!, null!, null!, null!), Sequence, DecoderLayer("")),
        ["decoder"] = new(() => TransformerDecoder(TransformerDecoderLayer(Width, 4, 32), 2), (m, x) => ((TransformerDecoder)m).call(x, x.flip(0), null!, null!, null!, null!), Sequence, [.. DecoderLayer("layers.0."), .. DecoderLayer("layers.1.")]),
        ["transformer"] = new(() => Transformer(Width, 4, 1, 1, 32), (m, x) => ((Transformer)m).call(x, x.flip(0)), Sequence, [.. EncoderLayer("encoder.layers.0."), .. DecoderLayer("decoder.layers.0.")]),
        ["lstm"] = new(() => LSTM(Width, Width, 2), (m, x) => ((LSTM)m).call(x).Item1, Sequence, "weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"),
        ["lstm of two directions"] = new(() => LSTM(Width, Width / 2, bidirectional: true), (m, x) => ((LSTM)m).call(x).Item1, Sequence, "weight_ih_l0", "weight_hh_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse"),
        ["gru"] = new(() => GRU(Width, Width, 2), (m, x) => ((GRU)m).call(x).Item1, Sequence, "weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"),
        ["rnn"] = new(() => RNN(Width, Width, 2), (m, x) => ((RNN)m).call(x).Item1, Sequence, "weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"),
        ["lstm cell"] = new(() => LSTMCell(Width, Width), (m, x) => ((LSTMCell)m).call(x[0], (x[1], x[2])).Item1, Sequence, "weight_ih", "weight_hh"),
        ["gru cell"] = new(() => GRUCell(Width, Width), (m, x) => ((GRUCell)m).call(x[0], x[1]), Sequence, "weight_ih", "weight_hh"),
        ["rnn cell"] = new(() => RNNCell(Width, Width), (m, x) => ((RNNCell)m).call(x[0], x[1]), Sequence, "weight_ih", "weight_hh"),
        ["embedding"] = new(() => Embedding(40, Width), (m, x) => ((Embedding)m).call(x), Ids, "weight"),
        ["bag of means"] = new(() => EmbeddingBag(40, Width, mode: EmbeddingBagMode.Mean), (m, x) => ((EmbeddingBag)m).call(x, null!, null!), Ids, "weight"),
        ["bag of sums"] = new(() => EmbeddingBag(40, Width, mode: EmbeddingBagMode.Sum), (m, x) => ((EmbeddingBag)m).call(x, null!, null!), Ids, "weight"),
        ["bag of maxima"] = new(() => EmbeddingBag(40, Width, mode: EmbeddingBagMode.Max), (m, x) => ((EmbeddingBag)m).call(x, null!, null!), Ids, "weight"),
    };

    public static TheoryData<string> Names => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void ItsWeightsAreQuantized(string name) => QuantizedWhole(name, new() { WeightQType = "int8" }, floor: 38);

    [Theory]
    [MemberData(nameof(Names))]
    public void ItsWeightsAndActivationsAreQuantized(string name) => QuantizedWhole(name, new() { WeightQType = "int8", ActQType = "int8" }, floor: 30);

    [Theory]
    [MemberData(nameof(Names))]
    public void ARuleForAnotherLayerLeavesItAlone(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = Cases[name].Model();
        var input = Cases[name].Input();
        var (expected, expectedHead) = model.call(input);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([new() { ModulePath = "head", WeightQType = "int8", ActQType = "int8" }]), input);
        var (actual, head) = quantized.call(input);
        Assert.Equal(["head.weight"], quantized.Weights.Keys);
        GoldenValue.AssertClose(expected, actual, 1e-5);
        Assert.InRange(GoldenValue.Snr(expectedHead, head), 20, 100);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void ItIsFilledFromAStateDict(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using Holder source = Cases[name].Model(), target = Cases[name].Model();
        var input = Cases[name].Input();
        var provider = new PtqProvider([new() { WeightQType = "int8" }]);
        using var direct = Qwix.QuantizeModel(source, provider, input);
        using var filled = Qwix.QuantizeModel(target, provider, input);
        filled.load_state_dict(Qwix.QuantizeParams(source.state_dict(), filled));
        GoldenValue.AssertBits(name, direct.call(input).Layer, filled.call(input).Layer);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void SaveAndLoadCarryItsWeightsAndStaticScales(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using Holder source = Cases[name].Model(), target = Cases[name].Model();
        var input = Cases[name].Input();
        var provider = new PtqProvider([new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = true }]);
        using var saved = Qwix.QuantizeModel(source, provider, input);
        using var loaded = Qwix.QuantizeModel(target, provider, input);
        using var file = new MemoryStream();
        saved.save(file);
        using var copy = new MemoryStream(file.ToArray());
        loaded.load(copy);
        GoldenValue.AssertBits(name, saved.call(input).Layer, loaded.call(input).Layer);
    }

    [Theory]
    [InlineData(ScalarType.Float64)]
    [InlineData(ScalarType.BFloat16)]
    public void ATransformerOfAnotherDtypeKeepsIt(ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = Cases["transformer"].Model();
        model.to(dtype);
        var input = Sequence().to(dtype);
        var expected = model.call(input).Layer;
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "int8", ActQType = "int8" }]), input);
        var actual = quantized.call(input).Layer;
        Assert.Equal(dtype, actual.dtype);
        Assert.InRange(GoldenValue.Snr(expected, actual), 25, 100);
    }

    /// <summary>Attention multiplies with its joined weight whole or in parts, as its inputs are the same or not.</summary>
    [Fact]
    public void AttentionCalledInTwoWaysHasArraysForBoth()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = new Holder(MultiheadAttention(Width, 4), (m, x) =>
        {
            var attention = (MultiheadAttention)m;
            var y = attention.call(x, x, x).Item1;
            return attention.call(y, x, x).Item1;
        });
        model.eval();
        var input = Sequence();
        var expected = model.call(input).Layer;
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "int8" }]), input);
        var actual = quantized.call(input).Layer;
        string[] names = ["head.weight", "layer.in_proj_weight", "layer.in_proj_weight.narrow(0,0,16)", "layer.in_proj_weight.narrow(0,16,32)", "layer.out_proj.weight"];
        Assert.Equal(names, quantized.Weights.Keys);
        Assert.InRange(GoldenValue.Snr(expected, actual), 30, 100);
        quantized.ReleaseOriginalWeights();
        GoldenValue.AssertBits("released", actual, quantized.call(input).Layer);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AWayOfAttentionThatComesAfterTheReleaseIsRefused(bool selfFirst)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        bool self = selfFirst;
        using var model = new Holder(MultiheadAttention(Width, 4), (m, x) => self ? ((MultiheadAttention)m).call(x, x, x).Item1 : ((MultiheadAttention)m).call(x.flip(0), x, x).Item1);
        model.eval();
        var input = Sequence();
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "int8" }]), input);
        quantized.ReleaseOriginalWeights();
        self = !self;
        var error = Assert.Throws<QwixException>(() => quantized.call(input));
        Assert.Contains("in_proj_weight", error.Message);
        Assert.Contains("ReleaseOriginalWeights", error.Message);
    }

    private static void QuantizedWhole(string name, QuantizationRule rule, double floor)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = Cases[name].Model();
        var input = Cases[name].Input();
        var expected = model.call(input).Layer;
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([rule]), input);
        var (layer, head) = quantized.call(input);

        string[] names = [.. Cases[name].Weights.Select(weight => "layer." + weight), "head.weight"];
        Assert.Equal(names.Order(StringComparer.Ordinal), quantized.Weights.Keys.Order(StringComparer.Ordinal));
        Assert.InRange(GoldenValue.Snr(expected, layer), floor, 100);

        quantized.ReleaseOriginalWeights();
        var (layerAfter, headAfter) = quantized.call(input);
        GoldenValue.AssertBits(name, layer, layerAfter);
        GoldenValue.AssertBits(name, head, headAfter);
    }

    private static string[] EncoderLayer(string prefix) =>
        [.. new[] { "self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight" }.Select(weight => prefix + weight)];

    /// <summary>Its second attention projects the query by one part of the joined weight, and the memory by the rest.</summary>
    private static string[] DecoderLayer(string prefix) =>
    [
        .. EncoderLayer(prefix),
        prefix + "multihead_attn.in_proj_weight.narrow(0,0,16)",
        prefix + "multihead_attn.in_proj_weight.narrow(0,16,32)",
        prefix + "multihead_attn.out_proj.weight",
    ];

    private static Tensor Sequence()
    {
        using var generator = new Generator(5);
        return randn([7, 3, Width], generator: generator);
    }

    private static Tensor Ids() => tensor(new long[] { 0, 39, 7, 7, 21, 3 }).reshape(3, 2);

    /// <summary>A module in a model, and which of its parameters are weights.</summary>
    /// <param name="Make">Makes the module.</param>
    /// <param name="Call">Calls it.</param>
    /// <param name="Input">The model's input.</param>
    /// <param name="Weights">The names that the quantized arrays have below the module's path.</param>
    private sealed record Case(Func<Module> Make, Func<Module, Tensor, Tensor> Call, Func<Tensor> Input, params string[] Weights)
    {
        public Holder Model()
        {
            var model = new Holder(Make(), Call);
            model.eval();
            return model;
        }
    }

    /// <summary>A user's model: a module, and a linear layer on its output.</summary>
    private sealed class Holder : Module<Tensor, (Tensor Layer, Tensor Head)>
    {
        private readonly Module layer;
        private readonly Linear head = Linear(Width, 4);
        private readonly Func<Module, Tensor, Tensor> _call;

        public Holder(Module layer, Func<Module, Tensor, Tensor> call) : base("holder")
        {
            this.layer = layer;
            _call = call;
            RegisterComponents();
        }

        public override (Tensor Layer, Tensor Head) forward(Tensor x)
        {
            var y = _call(layer, x);
            return (y, head.call(y));
        }
    }
}
