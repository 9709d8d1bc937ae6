using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Interception.Deferred;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>Where arithmetic on floats gives NaN or infinity, a quantized model gives no finite number either.</summary>
[Collection(RandomState.Name)]
public class NotFiniteInputTests
{
    private static readonly Dictionary<string, (Func<Module<Tensor, Tensor>> Make, long[] Shape)> Models = new()
    {
        ["linear"] = (() => Linear(40, 24), [5, 40]),
        ["linear of one row"] = (() => Linear(40, 24), [1, 40]),
        ["convolution"] = (() => Conv2d(3, 8, 3, padding: 1), [1, 3, 9, 20]),
        ["convolution of many channels"] = (() => Conv2d(24, 16, 3, padding: 1, stride: 2), [1, 24, 9, 7]),
        ["depthwise convolution"] = (() => Conv2d(16, 16, 3, padding: 1, groups: 16), [1, 16, 9, 7]),
        ["convolution and ReLU6"] = (() => Sequential(Conv2d(3, 8, 3), BatchNorm2d(8), ReLU6(), Conv2d(8, 8, 1)), [1, 3, 9, 20]),
        ["attention"] = (() => new LambdaModel((_, x) => functional.scaled_dot_product_attention(x, x, x)), [1, 2, 6, 16]),
    };

    private static readonly Dictionary<string, QuantizationRule> Rules = new()
    {
        ["int8"] = new() { WeightQType = "int8" },
        ["nf4"] = new() { WeightQType = "nf4" },
        ["fp8"] = new() { WeightQType = "float8_e4m3fn" },
        ["int8 × int8"] = new() { WeightQType = "int8", ActQType = "int8" },
        ["int8 × int8, minmax"] = new() { WeightQType = "int8", ActQType = "int8", ActCalibrationMethod = "minmax" },
        ["int4 × int8"] = new() { WeightQType = "int4", ActQType = "int8" },
        ["int8 × int8, static"] = new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = true },
    };

    public static TheoryData<string, string> Cases()
    {
        var data = new TheoryData<string, string>();
        // Of two activations only one may have a zero point.
        foreach (var model in Models.Keys)
            foreach (var rule in Rules.Keys)
                if ((model, rule) is not ("attention", "int8 × int8, minmax"))
                    data.Add(model, rule);
        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void NoWrongNumberComesOfThem(string name, string rule)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(1);
        using var model = Models[name].Make();
        model.eval();
        var x = randn(Models[name].Shape);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([Rules[rule]]), x);
        // Softmax makes 0 of one infinity and NaN of the other: their sign is lost in codes.
        float[] values = name == "attention" ? [float.NaN] : [float.NaN, float.PositiveInfinity, float.NegativeInfinity];
        foreach (var value in values)
        {
            var odd = x.clone();
            odd.view(-1)[odd.numel() / 2] = value;
            Tensor expected = model.call(odd), actual = quantized.call(odd);
            var wrong = actual.isfinite().logical_and(expected.isfinite().logical_not());
            Assert.True(wrong.sum().item<long>() == 0, $"{value}: {wrong.sum().item<long>()} of {expected.isfinite().logical_not().sum().item<long>()} are finite");
        }

        Assert.True(quantized.call(x).isfinite().all().item<bool>());
    }
}
