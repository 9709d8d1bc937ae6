using System.Text.Json;
using QwixSharp.LiteRT.Tests.Integers;
using QwixSharp.Providers;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Export;

[Trait("Category", "LiteRT")]
public sealed class ErrorTests
{
    [Fact]
    public void AnOpThatLiteRtLacksIsNamedWithItsModule()
    {
        using var model = nn.Sequential(("first", nn.Linear(4, 4)), ("second", new Function(x => x.erfinv())));
        var error = Assert.Throws<LiteRtException>(() => LiteRtConverter.Convert(model, zeros(2, 4)));
        Assert.Contains("erfinv", error.Message);
        Assert.Contains("\"second\"", error.Message);
    }

    [Fact]
    public void ControlFlowThatDependsOnValuesIsRefused()
    {
        using var model = new Function(x => x.sum().item<float>() > 0 ? x : x * 2);
        var error = Assert.Throws<LiteRtException>(() => LiteRtConverter.Convert(model, ones(2, 4)));
        Assert.Contains("sum in module \"\"", error.Message);
        Assert.Contains("torch.where", error.Message);
    }

    [Fact]
    public void ReadingValuesIsRefused()
    {
        using var model = new Function(x => x * x.relu().data<float>()[0]);
        Assert.Contains("relu", Assert.Throws<LiteRtException>(() => LiteRtConverter.Convert(model, ones(2, 4))).Message);
    }

    [Fact]
    public void ShapesThatDependOnValuesAreRefused()
    {
        using var chosen = new Function(x => x[TensorIndex.Tensor(x > 0)]);
        Assert.Contains("torch.where", Assert.Throws<LiteRtException>(() => LiteRtConverter.Convert(chosen, ones(2, 4))).Message);
        using var found = new Function(x => x.nonzero());
        Assert.Contains("nonzero", Assert.Throws<LiteRtException>(() => LiteRtConverter.Convert(found, ones(2, 4))).Message);
    }

    [Fact]
    public void RandomNumbersAreRefused()
    {
        using var model = new Function(x => x + randn_like(x));
        Assert.Contains("random", Assert.Throws<LiteRtException>(() => LiteRtConverter.Convert(model, ones(2, 4))).Message);
    }

    [Fact]
    public void ChangesThroughViewsAreRefused()
    {
        using var model = new Function(x =>
        {
            var y = x * 2;
            var row = y.select(0, 0);
            y.add_(1);
            return row * y;
        });
        Assert.Contains("shares its memory", Assert.Throws<LiteRtException>(() => LiteRtConverter.Convert(model, ones(2, 4))).Message);
    }

    [Fact]
    public void OtherFloatingPointTypesAreRefused()
    {
        using var model = nn.Linear(4, 4, dtype: ScalarType.Float64);
        Assert.Contains("Float32", Assert.Throws<LiteRtException>(() => LiteRtConverter.Convert(model, zeros(2, 4, ScalarType.Float64))).Message);
    }

    [Fact]
    public void ParametersWithoutValuesAreRefused()
    {
        using var model = nn.Sequential(("first", nn.Linear(4, 4, device: META)));
        Assert.Contains("first.weight", Assert.Throws<LiteRtException>(() => LiteRtConverter.Convert(model, zeros(2, 4))).Message);
    }

    [Fact]
    public void FilesOverTwoGigabytesAreRefused()
    {
        // Its memory is never touched, so it takes none: a product is not computed to know its shape.
        using var weight = empty(600_000, 1000);
        using var model = new Function(x => nn.functional.linear(x, weight));
        Assert.Contains("2 GB", Assert.Throws<LiteRtException>(() => LiteRtConverter.Convert(model, zeros(1, 1000))).Message);
    }

    [Fact]
    public void ModelsOfOtherProvidersAreRefused()
    {
        using var model = nn.Linear(4, 4);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "int8" }]), zeros(2, 4));
        var message = Assert.Throws<LiteRtException>(() => LiteRtConverter.Convert(ptq, zeros(2, 4))).Message;
        Assert.Contains(nameof(PtqProvider), message);
        Assert.Contains("new OdmlConversionProvider(rules, model.state_dict(), qat.QuantStats)", message);
        Assert.Contains("ActStaticScale = false", message);
    }

    /// <summary>What a floating-point model may not do, a converted one may not either.</summary>
    [Theory]
    [InlineData("op", "tan in module \"second\"")]
    [InlineData("control flow", "torch.where")]
    [InlineData("shape", "torch.where")]
    public void ConvertedModelsAreCheckedToo(string fault, string message)
    {
        using var scope = NewDisposeScope();
        var model = nn.Sequential(("first", nn.Linear(4, 4)), ("second", new Function(x => fault switch
        {
            "op" => x.tan(),
            "control flow" => x.sum().item<float>() > 0 ? x * 3 : x * 2,
            _ => x[TensorIndex.Tensor(x > 0)],
        })));
        var (converted, training) = OnDevice.Convert(model, [rand(2, 4)], OnDevice.Static());
        using (training)
        using (converted)
            Assert.Contains(message, Assert.Throws<LiteRtException>(() => LiteRtConverter.Convert(converted, zeros(2, 4))).Message);
    }

    [Fact]
    public void ABiasThatTakesMoreThan32BitsIsRefused()
    {
        using var scope = NewDisposeScope();
        var model = nn.Sequential(("fc", nn.Linear(4, 4)));
        using (no_grad())
        {
            model.get_parameter("fc.weight")!.fill_(1e-9f);
            model.get_parameter("fc.bias")!.fill_(10);
        }

        var (converted, training) = OnDevice.Convert(model, [rand(2, 4)], OnDevice.Static());
        using (training)
        using (converted)
        {
            var error = Assert.Throws<LiteRtException>(() => LiteRtConverter.Convert(converted, zeros(2, 4)));
            Assert.Contains("linear in module \"fc\"", error.Message);
            Assert.Contains("\"fc.bias\"", error.Message);
            Assert.Contains("\"fc.weight\"", error.Message);
            Assert.Contains("disablePerChannelWeights", error.Message);
        }
    }

    [Fact]
    public void Int4ActivationsAreRefused()
    {
        using var model = nn.Linear(4, 4);
        var (converted, training) = OnDevice.Convert(model, [randn(2, 4)], [new() { WeightQType = "int8", ActQType = "int4", ActStaticScale = true }]);
        using (training)
        using (converted)
            Assert.Contains("int4 activation", Assert.Throws<LiteRtException>(() => LiteRtConverter.Convert(converted, zeros(2, 4))).Message);
    }

    [Fact]
    public void ArgumentsAreChecked()
    {
        using var model = nn.Linear(4, 4);
        Assert.Throws<ArgumentException>(() => LiteRtConverter.Convert(model, zeros(2, 4), zeros(2, 4)));
        Assert.Throws<ArgumentException>(() => LiteRtConverter.Convert(model, [zeros(2, 4)], new LiteRtOptions { InputNames = ["a", "b"] }));
        Assert.Throws<ArgumentException>(() => LiteRtConverter.Convert(model, [zeros(2, 4)], new LiteRtOptions { OutputNames = ["a", "b"] }));
    }

    [Fact]
    public void AFailedExportLeavesNothingBehind()
    {
        using var model = nn.Linear(4, 4);
        var file = LiteRtConverter.Convert(model, zeros(2, 4));
        var folder = Directory.CreateTempSubdirectory("qwixsharp-");
        try
        {
            var taken = Directory.CreateDirectory(Path.Combine(folder.FullName, "model.tflite"));
            Assert.ThrowsAny<Exception>(() => file.Export(taken.FullName));
            Assert.Equal([taken.FullName], Directory.GetFileSystemEntries(folder.FullName));
            Assert.ThrowsAny<IOException>(() => file.Export(Path.Combine(folder.FullName, "missing", "model.tflite")));
        }
        finally
        {
            folder.Delete(true);
        }
    }

    [Fact]
    public void TheModelStaysAsItIs()
    {
        using var model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5));
        model.train();
        ((nn.Module)model.children().Last()).eval();
        var before = model.state_dict().ToDictionary(s => s.Key, s => s.Value.clone());
        LiteRtConverter.Convert(model, randn(1, 3, 8, 8));
        Assert.True(model.training);
        Assert.Equal([true, true, false], model.children().Select(c => c.training));
        Assert.All(model.state_dict(), s => Assert.True(s.Value.equal(before[s.Key]).all().item<bool>()));
    }

    [Fact]
    public void ConversionLeavesNoTensors()
    {
        using var model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5));
        using var image = randn(1, 3, 8, 8);
        LiteRtConverter.Convert(model, image);
        long before = Tensor.TotalCount;
        LiteRtConverter.Convert(model, image);
        Assert.Equal(before, Tensor.TotalCount);
    }

    [Fact]
    public void MetadataSaysHowAFileIsMade()
    {
        using var model = nn.Linear(4, 4);
        var file = LiteRtConverter.Convert(model, zeros(2, 4)).Inspect();
        using var metadata = JsonDocument.Parse(file.Metadata[LiteRtConverter.MetadataName]);
        Assert.Equal("float32", metadata.RootElement.GetProperty("scheme").GetString());
        Assert.Equal("0.1.0", metadata.RootElement.GetProperty("version").GetString());

        var (converted, training) = OnDevice.Convert(model, [randn(2, 4)], OnDevice.Static("int4"));
        using (training)
        using (converted)
        {
            file = LiteRtConverter.Convert(converted, zeros(2, 4)).Inspect();
            Assert.Contains("int4 weights, int8 activations", System.Text.Encoding.UTF8.GetString(file.Metadata[LiteRtConverter.MetadataName].Span));
        }
    }
}
