using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers.Odml;

/// <summary>Takes models through on-device training and conversion.</summary>
internal static class OnDevice
{
    /// <summary>The range of a tensor is that of all its values, so that a batch of calibration is not clipped itself.</summary>
    public static QuantizationRule[] Int8 => [new() { WeightQType = "int8", ActQType = "int8", ActBatchAxes = [] }];

    /// <summary>The fake-quants that a function gets, with the statistics of one batch.</summary>
    public static IReadOnlyList<FakeQuantAnnotation> FakeQuantsOf(Func<Functional, Tensor, Tensor> forward, Tensor x, Tensor weight, QuantizationRule[]? rules = null)
    {
        using var model = new Functional(weight, forward);
        return Convert(model, x, rules ?? Int8).Provider.FakeQuants;
    }

    /// <summary>The result in floating point, and as the device will have it.</summary>
    public static (Tensor Float, Tensor Device, OdmlConversionProvider Provider) Convert(nn.Module<Tensor, Tensor> model, Tensor x, QuantizationRule[] rules, bool strict = true)
    {
        using var noGrad = no_grad();
        model.eval();
        var expected = model.call(x);
        using var qat = Qwix.QuantizeModel(model, new OdmlQatProvider(rules, strict: strict), x);
        Calibrate(qat, x);
        var provider = new OdmlConversionProvider(rules, model.state_dict(), qat.QuantStats, strict: strict);
        using var conversion = Qwix.QuantizeModel(model, provider, x);
        return (expected, conversion.call(x), provider);
    }

    /// <summary>One batch in training mode, but for what random or moving statistics would change.</summary>
    public static void Calibrate(nn.Module<Tensor, Tensor> qat, Tensor x)
    {
        qat.train();
        foreach (var module in ((IQuantizedModel)qat).Original.modules().Where(m => m.GetType().Name.Contains("Norm") || m.GetType().Name.Contains("Dropout")))
            module.eval();
        qat.call(x);
        qat.eval();
    }
}
