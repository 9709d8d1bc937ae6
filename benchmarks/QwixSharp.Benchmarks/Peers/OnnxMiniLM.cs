using QwixSharp.Samples.Common;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Peers;

/// <summary>
/// A <see cref="BertEncoder"/> as ONNX Runtime's dynamic quantization makes it and its optimizer leaves it: linear layers of int8
/// weights, symmetric per channel, on activations quantized to uint8 at each call, once where three layers share them.
/// </summary>
internal sealed class OnnxMiniLM
{
    private readonly OnnxGraph _graph = new();
    private readonly Dictionary<string, Tensor> _weights;
    private readonly BertSize _size;
    private readonly long _batch;
    private readonly long _tokens;

    private OnnxMiniLM(BertEncoder encoder, BertSize size, long batch, long tokens)
    {
        _weights = encoder.state_dict();
        (_size, _batch, _tokens) = (size, batch, tokens);
    }

    /// <summary>The model, with the inputs <c>ids</c> and <c>mask</c> [batch, tokens] int64.</summary>
    public static byte[] Of(BertEncoder encoder, BertSize size, long batch, long tokens) => new OnnxMiniLM(encoder, size, batch, tokens).Build();

    private byte[] Build()
    {
        var x = _graph.Add("Gather", [Weight("word_embeddings.weight"), "ids"]);
        using var places = _weights["position_embeddings.weight"].narrow(0, 0, _tokens) + _weights["token_type_embeddings.weight"][0];
        x = Norm(_graph.Add("Add", [x, _graph.Constant(places)]), "norm");
        var present = _graph.Add("Cast", ["mask"], OnnxWriter.Attribute("to", OnnxWriter.Float));
        var bias = _graph.Add("Mul", [_graph.Add("Sub", [_graph.Constant(1f), present]), _graph.Constant(-10000f)]);
        bias = _graph.Add("Unsqueeze", [bias, _graph.Constant(1L, 2)]);
        for (var i = 0; i < _size.Layers; i++)
            x = Layer(x, bias, $"layers.{i}.");
        var weights = _graph.Add("Unsqueeze", [present, _graph.Constant(-1L)]);
        var mean = _graph.Add("Div", [Sum(_graph.Add("Mul", [x, weights])), Sum(weights)]);
        var unit = _graph.Add("LpNormalization", [mean], OnnxWriter.Attribute("axis", -1), OnnxWriter.Attribute("p", 2));
        byte[][] inputs = [OnnxWriter.Value("ids", OnnxWriter.Int64, _batch, _tokens), OnnxWriter.Value("mask", OnnxWriter.Int64, _batch, _tokens)];
        return _graph.Model(inputs, unit, _batch, _size.Width);
    }

    private string Layer(string x, string bias, string name)
    {
        var codes = Quantize(x);
        var q = Heads(Linear(codes, name + "query"), 0, 2, 1, 3);
        var k = Heads(Linear(codes, name + "key"), 0, 2, 3, 1);
        var v = Heads(Linear(codes, name + "value"), 0, 2, 1, 3);
        var scores = _graph.Add("Div", [_graph.Add("MatMul", [q, k]), _graph.Constant(MathF.Sqrt(_size.Width / _size.Heads))]);
        var attention = _graph.Add("Softmax", [_graph.Add("Add", [scores, bias])], OnnxWriter.Attribute("axis", -1));
        var mixed = _graph.Add("Transpose", [_graph.Add("MatMul", [attention, v])], OnnxWriter.Attribute("perm", [0, 2, 1, 3]));
        mixed = _graph.Add("Reshape", [mixed, _graph.Constant(_batch, _tokens, _size.Width)]);
        x = Norm(_graph.Add("Add", [x, Linear(Quantize(mixed), name + "attention_output")]), name + "attention_norm");
        var inner = _graph.AddContributed("Gelu", Linear(Quantize(x), name + "intermediate"));
        return Norm(_graph.Add("Add", [x, Linear(Quantize(inner), name + "output")]), name + "output_norm");
    }

    private string Heads(string x, params long[] order)
    {
        var split = _graph.Add("Reshape", [x, _graph.Constant(_batch, _tokens, _size.Heads, _size.Width / _size.Heads)]);
        return _graph.Add("Transpose", [split], OnnxWriter.Attribute("perm", order));
    }

    /// <summary>Codes, scale and zero point.</summary>
    private string[] Quantize(string x) => _graph.Add("DynamicQuantizeLinear", "", [x], 3, []);

    private string Linear(string[] x, string name)
    {
        using var scope = NewDisposeScope();
        var weight = _weights[name + ".weight"];
        var scale = weight.abs().amax(1) / 127;
        var codes = (weight / scale.unsqueeze(1)).round().to(ScalarType.Int8).t();
        return _graph.AddContributed("MatMulIntegerToFloat", x[0], _graph.Constant(codes), x[1], _graph.Constant(scale), x[2], "", Weight(name + ".bias"));
    }

    private string Norm(string x, string name) =>
        _graph.Add("LayerNormalization", [x, Weight(name + ".weight"), Weight(name + ".bias")], OnnxWriter.Attribute("axis", -1), OnnxWriter.Attribute("epsilon", (float)BertLayer.Epsilon));

    private string Sum(string x) => _graph.Add("ReduceSum", [x, _graph.Constant(1L)], OnnxWriter.Attribute("keepdims", 0));

    private string Weight(string name) => _graph.Constant(_weights[name]);
}
