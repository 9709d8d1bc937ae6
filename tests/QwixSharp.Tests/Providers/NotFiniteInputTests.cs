using QwixSharp.Providers;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>Where arithmetic on floats gives NaN or infinity, a quantized model gives no finite number either.</summary>
[Collection(RandomState.Name)]
public class NotFiniteInputTests
{
    private static readonly float[] Values = [float.NaN, float.PositiveInfinity, float.NegativeInfinity];

    private static readonly Dictionary<string, QuantizationRule> Rules = new()
    {
        ["int8"] = new() { WeightQType = "int8" },
        ["int4, tiles"] = new() { WeightQType = "int4", TileSize = 32 },
        ["int8, minmax"] = new() { WeightQType = "int8", WeightCalibrationMethod = "minmax" },
        ["nf4"] = new() { WeightQType = "nf4" },
        ["fp8"] = new() { WeightQType = "float8_e4m3fn" },
        ["mxfp8"] = new() { WeightQType = "mxfp8", TileSize = 32 },
        ["int8 × int8"] = new() { WeightQType = "int8", ActQType = "int8" },
        ["int8 × int8, minmax"] = new() { WeightQType = "int8", ActQType = "int8", ActCalibrationMethod = "minmax" },
        ["int8 × int8, a part of the range"] = new() { WeightQType = "int8", ActQType = "int8", ActCalibrationMethod = "absmax,0.8" },
        ["int8 × int8, rms"] = new() { WeightQType = "int8", ActQType = "int8", ActCalibrationMethod = "rms,3" },
        ["int8 × int8, fixed"] = new() { WeightQType = "int8", ActQType = "int8", ActCalibrationMethod = "fixed,-3,3" },
        ["int8 × int8, static"] = new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = true },
        ["int8 × int8, static, minmax"] = new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = true, ActCalibrationMethod = "minmax" },
        ["int4 × int8, tiles"] = new() { WeightQType = "int4", ActQType = "int8", TileSize = 32 },
        ["int4 × int4"] = new() { WeightQType = "int4", ActQType = "int4" },
        ["fp8 × fp8"] = new() { WeightQType = "float8_e4m3fn", ActQType = "float8_e4m3fn" },
        ["fp8 × fp8, static"] = new() { WeightQType = "float8_e4m3fn", ActQType = "float8_e4m3fn", ActStaticScale = true },
        ["nf4 × nf4"] = new() { WeightQType = "nf4", ActQType = "nf4" },
        ["mxfp4 × mxfp8"] = new() { WeightQType = "mxfp4", ActQType = "mxfp8", TileSize = 32 },
        ["nvfp4 × nvfp4"] = new() { WeightQType = "nvfp4", ActQType = "nvfp4", TileSize = 16 },
    };

    public static TheoryData<string, string, ScalarType> Cases()
    {
        var data = new TheoryData<string, string, ScalarType>();
        foreach (var (name, model) in NotFiniteModels.All)
            foreach (var (rule, settings) in Rules)
                foreach (var dtype in new[] { ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float16 })
                    if (model.Allows(settings) && (dtype == ScalarType.Float32 || model.IsNarrowToo))
                        data.Add(name, rule, dtype);
        return data;
    }

    /// <summary>Training rounds activations with ranges of their own, with the mean of those seen before, or with fixed ones.</summary>
    public static TheoryData<string, string> CasesOfTraining() =>
    [
        .. from model in NotFiniteModels.All.Keys
           from rule in (string[])["int8 × int8", "int8 × int8, fixed", "int8 × int8, static", "fp8 × fp8, static"]
           select (model, rule),
    ];

    [Theory]
    [MemberData(nameof(Cases))]
    public void NoWrongNumberComesOfThem(string name, string rule, ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(1);
        using var model = NotFiniteModels.All[name].Make();
        model.to(dtype);
        model.eval();
        var x = randn(NotFiniteModels.All[name].Shape).to(dtype);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([Rules[rule]]), x);
        Check(model, quantized, x);
    }

    [Theory]
    [MemberData(nameof(CasesOfTraining))]
    public void NorInTraining(string name, string rule)
    {
        using var scope = NewDisposeScope();
        manual_seed(1);
        using var model = NotFiniteModels.All[name].Make();
        var x = randn(NotFiniteModels.All[name].Shape);
        using var quantized = Qwix.QuantizeModel(model, new QtProvider([Rules[rule]]), x);
        quantized.call(x);
        model.eval();
        quantized.eval();
        Check(model, quantized, x);
    }

    /// <summary>What makes a result NaN is no part of its gradient.</summary>
    [Fact]
    public void GradientsOfTrainingAreThere()
    {
        using var scope = NewDisposeScope();
        manual_seed(1);
        using var model = Linear(16, 8);
        using var quantized = Qwix.QuantizeModel(model, new QtProvider([Rules["int8 × int8, fixed"]]), randn(4, 16));
        Tensor odd = randn(4, 16), factors = ones(4, 1);
        odd[2, 3] = float.NaN;
        factors[2] = 0;
        quantized.call(odd).nan_to_num().mul(factors).sum().backward();
        var gradient = quantized.parameters().First(p => p.dim() == 2).grad!;
        Assert.Equal([8, 16], gradient.shape);
        Assert.True(gradient.isfinite().sum().item<long>() > 0);
    }

    [Theory]
    [InlineData("int8 × int8")]
    [InlineData("int8 × int8, fixed")]
    [InlineData("int4, tiles")]
    public void NorWithAdapters(string rule)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(1);
        using var model = Sequential(Linear(64, 32), ReLU(), Linear(32, 8));
        model.eval();
        var x = randn(5, 64);
        var adapted = new LoraRule { Rank = 4, Alpha = 8, InitializeB = b => b.normal_(), WeightQType = Rules[rule].WeightQType, ActQType = Rules[rule].ActQType, ActCalibrationMethod = Rules[rule].ActCalibrationMethod, TileSize = Rules[rule].TileSize };
        using var lora = Qwix.ApplyLora(model, new LoraProvider(adapted), x);
        lora.eval();
        Check(model, lora, x);
    }

    private static void Check(Module<Tensor, Tensor> model, Module<Tensor, Tensor> quantized, Tensor x)
    {
        foreach (long place in new[] { 0, x.numel() / 2, x.numel() - 1 })
            foreach (var value in Values)
            {
                using var odd = x.clone();
                odd.view(-1)[place] = value;
                using Tensor expected = model.call(odd), actual = quantized.call(odd);
                var lost = actual.isfinite().logical_and(expected.isfinite().logical_not()).sum().item<long>();
                Assert.True(lost == 0, $"{value} at {place}: {lost} of {expected.isfinite().logical_not().sum().item<long>()} are finite");
            }

        Assert.True(quantized.call(x).isfinite().all().item<bool>());
    }
}
