using QwixSharp.Calibration;
using QwixSharp.LiteRT.Tests.Integers;
using QwixSharp.LiteRT.Tests.Runtime;
using QwixSharp.Providers;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Export;

/// <summary>Values from which no scale can be made are refused; those that are all zero have a scale.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class ScaleTests(LiteRtRuntime runtime)
{
    private const string Product = "dot_general0 in module \"fc\"";

    [Theory]
    [InlineData("fc.weight", float.NaN, Product, "parameter \"fc.weight\"")]
    [InlineData("fc.weight", float.PositiveInfinity, Product, "parameter \"fc.weight\"")]
    [InlineData("fc.bias", float.NaN, "linear in module \"fc\"", "\"fc.bias\"")]
    [InlineData("fc.bias", float.NegativeInfinity, "linear in module \"fc\"", "\"fc.bias\"")]
    [InlineData("fc.dot_general0_lhs.sum_of_max", float.PositiveInfinity, Product, "\"fc.dot_general0_lhs\"")]
    [InlineData("final_output0.sum_of_min", float.NaN, "final_output0 in module \"\"", "\"final_output0\"")]
    public void ValuesThatAreNotFiniteAreRefused(string name, float value, string place, string source)
    {
        using var scope = NewDisposeScope();
        var folder = Directory.CreateTempSubdirectory("qwixsharp-");
        try
        {
            var model = nn.Sequential(("fc", nn.Linear(4, 4)));
            using var training = Trained(model);
            var (parameters, statistics) = (model.state_dict(), training.QuantStats.ToTensors());
            using (no_grad())
                (parameters.GetValueOrDefault(name) ?? statistics[name]).fill_(value);
            using var changed = QuantStats.FromTensors(statistics);
            var error = Assert.ThrowsAny<QwixException>(() =>
            {
                using var converted = Qwix.QuantizeModel(model, new OdmlConversionProvider(OnDevice.Static(), parameters, changed), rand(2, 4));
                LiteRtConverter.Convert(converted, rand(2, 4)).Export(Path.Combine(folder.FullName, "model.tflite"));
            });
            Assert.Contains(place, error.Message);
            Assert.Contains(source, error.Message);
            Assert.Empty(folder.GetFileSystemInfos());
        }
        finally
        {
            folder.Delete(true);
        }
    }

    /// <summary>Parameters are read when the file is written: what they have become is checked too.</summary>
    [Fact]
    public void ParametersThatChangeAfterConversionAreCheckedToo()
    {
        using var scope = NewDisposeScope();
        var model = nn.Sequential(("fc", nn.Linear(4, 4)));
        using var training = Trained(model);
        using var converted = Qwix.QuantizeModel(model, new OdmlConversionProvider(OnDevice.Static(), model.state_dict(), training.QuantStats), rand(2, 4));
        using (no_grad())
            model.get_parameter("fc.weight")!.fill_(float.NaN);
        var error = Assert.ThrowsAny<QwixException>(() => LiteRtConverter.Convert(converted, rand(2, 4)));
        Assert.Contains(Product, error.Message);
        Assert.Contains("parameter \"fc.weight\"", error.Message);
    }

    [Theory]
    [InlineData("int8")]
    [InlineData("int16")]
    public void ZerosHaveAScale(string activations)
    {
        using var scope = NewDisposeScope();
        var model = nn.Linear(4, 4);
        using (no_grad())
        {
            model.weight!.zero_();
            model.bias!.zero_();
        }

        OnDevice.Check(runtime, new Function(x => model.call(x) * 1e-44f), [zeros(2, 4), zeros(2, 4)], OnDevice.Static(activations: activations));
    }

    private static QuantizedModule<Tensor, Tensor> Trained(nn.Module<Tensor, Tensor> model)
    {
        var training = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Static()), rand(2, 4));
        training.train();
        training.call(rand(2, 4)).Dispose();
        training.eval();
        return training;
    }
}
