using QwixSharp.LiteRT.Tests.Integers;
using QwixSharp.LiteRT.Tests.Runtime;
using QwixSharp.Providers;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Export;

[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class OptionTests(LiteRtRuntime runtime)
{
    [Fact]
    public void SignaturesHaveTheNamesThatAreAskedFor()
    {
        using var scope = NewDisposeScope();
        var model = new Function2((a, b) => a * 2 + b);
        var options = new LiteRtOptions { Signature = "mix", InputNames = ["left", "right"], OutputNames = ["sum"] };
        var path = Path.GetTempFileName();
        try
        {
            var file = LiteRtConverter.Convert(model, [zeros(2, 3), zeros(3)], options);
            file.Export(path);
            var signature = Assert.Single(file.Inspect().Signatures);
            Assert.Equal(("mix", "left right", "sum"), (signature.Key, string.Join(' ', signature.Inputs.Keys), string.Join(' ', signature.Outputs.Keys)));
            var (left, right) = (randn(2, 3), randn(3));
            var inputs = new Dictionary<string, byte[]> { ["right"] = LiteRtRuntime.BytesOf(right), ["left"] = LiteRtRuntime.BytesOf(left) };
            Exported.Compare(left * 2 + right, runtime.Run(path, inputs, "mix").Single().ToTensor(), 1e-6);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void NamesComeFromTheModel()
    {
        using var model = new Pair(x => (x.relu(), x * 2));
        var signature = LiteRtConverter.Convert(model, zeros(2, 3)).Inspect().Signatures[0];
        Assert.Equal(["input"], signature.Inputs.Keys);
        Assert.Equal(["output0", "output1"], signature.Outputs.Keys);
    }

    [Fact]
    public void ImagesMayBeChannelsLast()
    {
        using var scope = NewDisposeScope();
        var model = nn.Conv2d(3, 4, 3);
        var image = randn(1, 3, 8, 8);
        var path = Path.GetTempFileName();
        try
        {
            var file = LiteRtConverter.Convert(model, [image], new LiteRtOptions { ChannelsLast = true });
            file.Export(path);
            Assert.Equal(["CONV_2D"], file.Inspect().Subgraphs[0].Operators.Select(o => o.Name));
            var output = runtime.Run(path, image.permute(0, 2, 3, 1)).Single().ToTensor();
            Exported.Compare(model.call(image).permute(0, 2, 3, 1), output, 1e-5);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public void EndsOfIntegerFilesMayBeInFloatingPoint(bool integerInputs, bool integerOutputs)
    {
        using var scope = NewDisposeScope();
        manual_seed(11);
        var model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3));
        var file = OnDevice.Check(runtime, model, [randn(5, 4)], OnDevice.Static(), new LiteRtOptions { IntegerInputs = integerInputs, IntegerOutputs = integerOutputs });
        var graph = file.Subgraphs[0];
        string[] expected = [.. integerInputs ? [] : (string[])["QUANTIZE"], "FULLY_CONNECTED", "FULLY_CONNECTED", .. integerOutputs ? [] : (string[])["DEQUANTIZE"]];
        Assert.Equal(expected, graph.Operators.Select(o => o.Name));
        Assert.Equal(integerInputs ? LiteRtType.Int8 : LiteRtType.Float32, graph.Tensors[graph.Inputs[0]].Type);
        Assert.Equal(integerOutputs ? LiteRtType.Int8 : LiteRtType.Float32, graph.Tensors[graph.Outputs[0]].Type);
    }

    [Fact]
    public void IntegerFilesMayHaveSeveralOutputs()
    {
        using var scope = NewDisposeScope();
        manual_seed(11);
        var rules = OnDevice.Static();
        var linear = nn.Linear(4, 8);
        var model = new Pair(x => (linear.call(x).relu(), x.sum(1)));
        var x = randn(50, 4);
        var training = Qwix.QuantizeModel(model, new OdmlQatProvider(rules), x);
        training.train();
        training.call(x);
        training.eval();
        var converted = Qwix.QuantizeModel(model, new OdmlConversionProvider(rules, model.state_dict(), training.QuantStats), x);
        var path = Path.GetTempFileName();
        try
        {
            var written = LiteRtConverter.Convert(converted, x);
            written.Export(path);
            var file = written.Inspect();
            var graph = file.Subgraphs[0];
            Tensor[] expected = [.. Exported.Call(converted, [x])];
            var outputs = runtime.Run(path, OnDevice.Codes(x, graph.Tensors[graph.Inputs[0]]));
            Assert.Equal(["output0", "output1"], outputs.Select(o => o.Name));
            for (int i = 0; i < 2; i++)
                OnDevice.Compare(expected[i], outputs[i].ToTensor(), graph.Tensors[graph.Outputs[i]], file);
        }
        finally
        {
            File.Delete(path);
        }
    }
}
