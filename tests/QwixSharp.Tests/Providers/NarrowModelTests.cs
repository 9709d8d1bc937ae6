using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Golden;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers;

/// <summary>Models of float16 and bfloat16, with weights and activations as small as those of real ones, are as near to float32 as quantized ones of float32.</summary>
[Collection(RandomState.Name)]
public class NarrowModelTests
{
    private static readonly Dictionary<string, QuantizationRule> Rules = new()
    {
        ["int8"] = new() { WeightQType = "int8" },
        ["int4, tiles"] = new() { WeightQType = "int4", TileSize = 32 },
        ["nf4"] = new() { WeightQType = "nf4" },
        ["mxfp8"] = new() { WeightQType = "mxfp8", TileSize = 32 },
        ["int8 × int8"] = new() { WeightQType = "int8", ActQType = "int8" },
        ["int8 × int8, asymmetric"] = new() { WeightQType = "int8", ActQType = "int8", ActCalibrationMethod = "minmax" },
        ["int8 × int8, tiles"] = new() { WeightQType = "int8", ActQType = "int8", TileSize = 32 },
        ["fp8 × fp8"] = new() { WeightQType = "fp8", ActQType = "fp8" },
    };

    /// <summary>On some processors libtorch's own convolutions of bfloat16 are wrong, which convolutions of dequantized kernels are.</summary>
    public static TheoryData<string, string, ScalarType> Cases =>
        [.. from model in NotFiniteModels.All
            from rule in Rules
            from dtype in new[] { ScalarType.Float16, ScalarType.BFloat16 }
            where model.Value.Allows(rule.Value) && (dtype == ScalarType.Float16 || !model.Value.IsImage) && !(rule.Value.WeightQType!.IsMicroScaled && !model.Value.HasTiles)
            select (model.Key, rule.Key, dtype)];

    [Theory]
    [MemberData(nameof(Cases))]
    public void AreAsNearToFloat32(string name, string rule, ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(3);
        using var model = NotFiniteModels.All[name].Make();
        model.eval();
        var x = (randn(NotFiniteModels.All[name].Shape) * 0.25).to(dtype);
        model.to(dtype).to(ScalarType.Float32);
        var expected = model.call(x.to(ScalarType.Float32));
        using var wide = Qwix.QuantizeModel(model, new PtqProvider([Rules[rule]]), x.to(ScalarType.Float32));
        double reached = GoldenValue.Snr(expected, wide.call(x.to(ScalarType.Float32)));
        wide.to(dtype);
        double converted = GoldenValue.Snr(expected, wide.call(x).to(ScalarType.Float32));

        model.to(dtype);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([Rules[rule]]), x);
        var result = quantized.call(x);

        Assert.Equal(dtype, result.dtype);
        // bfloat16 has eight bits.
        double least = Math.Min(reached - 4, dtype == ScalarType.BFloat16 ? 28 : 40);
        double found = GoldenValue.Snr(expected, result.to(ScalarType.Float32));
        Assert.True(found >= least, $"{found:f1} dB; {least:f1} is the least");
        Assert.True(converted >= least, $"converted afterwards {converted:f1} dB; {least:f1} is the least");
    }
}
