using System.Text.Json;
using QwixSharp.Calibration;
using QwixSharp.Providers;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

[Trait("Category", "Golden")]
[Trait("Family", "odml")]
public class OdmlGoldenTests
{
    private const string Family = "odml";

    public static IEnumerable<TheoryDataRow<string>> Cases() => GoldenFamily.Rows(Family);

    [Theory]
    [MemberData(nameof(Cases))]
    public void TrainingOutputAndStatisticsAgree(string name)
    {
        using var scope = NewDisposeScope();
        var test = Load(name);
        using var model = Model(test);
        var batches = test.Batches;
        using var qat = Qwix.QuantizeModel(model, test.Qat(), batches[0]);
        Train(qat);
        Tensor[] outputs = [.. batches.Select(qat.call)];

        AssertSnr(test.Tensor("qat_output_last_batch"), outputs[^1]);
        var (expected, actual) = (test.QuantStats, qat.QuantStats.ToTensors());
        Assert.Equal(expected.Keys.Order(StringComparer.Ordinal), actual.Keys);
        foreach (var (place, value) in expected)
            GoldenValue.AssertClose(value, actual[place], 1e-3);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void ConversionOutputAndFakeQuantsAgree(string name)
    {
        using var scope = NewDisposeScope();
        var test = Load(name);
        using var model = Model(test);
        var batches = test.Batches;
        using var qat = Qwix.QuantizeModel(model, test.Qat(), batches[0]);
        Train(qat);
        foreach (var batch in batches)
            qat.call(batch);

        var provider = test.Conversion(model.state_dict(), qat.QuantStats);
        using var conversion = Qwix.QuantizeModel(model, provider, batches[^1]);
        conversion.eval();
        AssertSnr(test.Tensor("conversion_output"), conversion.call(batches[^1]));
        Assert.Equal(test.FakeQuants.GetArrayLength(), provider.FakeQuants.Count);
        foreach (var (expected, actual) in test.FakeQuants.EnumerateArray().Zip(provider.FakeQuants))
            AssertSame(expected, actual);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void ConversionFromTheReferencesStatisticsAgrees(string name)
    {
        using var scope = NewDisposeScope();
        var test = Load(name);
        using var model = Model(test);
        using var stats = QuantStats.FromTensors(test.QuantStats);
        var provider = test.Conversion(test.Parameters, stats);
        using var conversion = Qwix.QuantizeModel(model, provider, test.Batches[^1]);
        AssertSnr(test.Tensor("conversion_output"), conversion.call(test.Batches[^1]));
    }

    private static OdmlCase Load(string name)
    {
        var family = GoldenFamily.Load(Family);
        return new OdmlCase(family, family.Case(name));
    }

    private static nn.Module<Tensor, Tensor> Model(OdmlCase test)
    {
        var model = test.BuildModel();
        model.load_state_dict(test.Parameters, strict: false);
        model.eval();
        return model;
    }

    /// <summary>The reference gathers statistics while batch norm is in evaluation mode.</summary>
    private static void Train(nn.Module<Tensor, Tensor> qat)
    {
        qat.train();
        foreach (var norm in ((IQuantizedModel)qat).Original.modules().OfType<TorchSharp.Modules.BatchNorm2d>())
            norm.eval();
    }

    private static void AssertSnr(Tensor expected, Tensor actual)
    {
        double snr = GoldenValue.Snr(expected, actual);
        Assert.True(snr >= 35, $"SNR {snr:f1} dB; 35 is the least");
    }

    private static void AssertSame(JsonElement expected, FakeQuantAnnotation actual)
    {
        string at = $"{actual.Place} {actual.WeightName}";
        bool isWeight = actual.WeightName is not null;
        Assert.Equal(expected.GetProperty("dtype").GetString(), "i" + actual.QType.Bits);
        Assert.Equal(expected.GetProperty("narrow_range").GetBoolean(), actual.NarrowRange);
        var flax = GoldenValue.Shape(expected);
        var axes = isWeight ? GoldenLayout.KernelAxes(flax.Length) : flax.Length == 4 && actual.OpName.Contains("conv") | actual.OpName.Contains("pool") ? [0, 3, 1, 2] : null;
        if (axes is not null)
            Assert.Equal(axes.Select(a => flax[a]), actual.Shape);
        else
            Assert.Equal(flax.Order(), actual.Shape.Order());
        int? dimension = expected.TryGetProperty("quantization_dimension", out var d) ? Array.IndexOf(axes!, d.GetInt32()) : null;
        Assert.Equal(dimension, actual.QuantizationDimension);
        float[] scales = [.. expected.GetProperty("scale").EnumerateArray().Select(s => s.GetSingle())];
        Assert.Equal(scales.Length, actual.Scale.Count);
        Assert.All(scales.Zip(actual.Scale), s => Assert.True(Math.Abs(s.First - s.Second) <= 1e-3 * s.First, $"{at}: scale {s.Second}, {s.First} expected"));
        long[]? zeroPoints = expected.TryGetProperty("zero_point", out var z) ? [.. z.EnumerateArray().Select(e => e.GetInt64())] : null;
        Assert.Equal(zeroPoints?.Length, actual.ZeroPoint?.Count);
        Assert.All((zeroPoints ?? []).Zip(actual.ZeroPoint ?? []), p => Assert.True(Math.Abs(p.First - p.Second) <= 1, $"{at}: zero point {p.Second}, {p.First} expected"));
    }
}
