using System.Runtime.CompilerServices;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>
/// Tells tanh from ReLU in an RNN or RNNCell, which do not keep their choice in managed code: the native module is
/// run for one step and compared with both.
/// </summary>
[NotIntercepted]
internal static class NonLinearity
{
    private static readonly ConditionalWeakTable<nn.Module, object> Known = [];

    internal static RecurrentKind Of(RNN module) =>
        Measure(module, "_l0", (x, h) =>
        {
            var layers = 0;
            while (module.has_parameter($"weight_ih_l{layers}")) layers++;
            var states = h.unsqueeze(0).repeat(layers * (module.has_parameter("weight_ih_l0_reverse") ? 2 : 1), 1, 1);
            // One step of one sequence: batch_first makes no difference.
            return module.forward(x.unsqueeze(0), states).Item2.select(0, 0);
        });

    internal static RecurrentKind Of(RNNCell module) =>
        (RecurrentKind)Known.GetValue(module, static m => Measure(m, "", ((RNNCell)m).forward));

    private static RecurrentKind Measure(nn.Module module, string suffix, Func<Tensor, Tensor, Tensor> step)
    {
        lock (Probe.Gate) return Probe.KeepingRandomState(() => Compare(module, suffix, step));
    }

    private static RecurrentKind Compare(nn.Module module, string suffix, Func<Tensor, Tensor, Tensor> step)
    {
        using var scope = NewDisposeScope();
        using var nothing = no_grad();
        var weight = ModuleParameters.Required(module, "weight_ih" + suffix);
        var recurrent = ModuleParameters.Required(module, "weight_hh" + suffix);

        // Neither shape nor op depends on the choice where there are no values.
        if (weight.device.type == TorchSharp.DeviceType.META) return RecurrentKind.Tanh;
        var bias = ModuleParameters.Optional(module, "bias_ih" + suffix);
        var recurrentBias = ModuleParameters.Optional(module, "bias_hh" + suffix);
        for (var seed = 1; seed < 9; seed++)
        {
            var x = Probe.Values(seed, weight, 1, weight.shape[1]) * seed;
            var h = Probe.Values(100 + seed, weight, 1, recurrent.shape[1]) * seed;
            var sum = nn.functional.linear(x, weight, bias) + nn.functional.linear(h, recurrent, recurrentBias);
            var native = step(x, h);
            var asTanh = Probe.MaxDifference(native, tanh(sum));
            var asRelu = Probe.MaxDifference(native, nn.functional.relu(sum));
            if (asTanh < asRelu * 0.1) return RecurrentKind.Tanh;
            if (asRelu < asTanh * 0.1) return RecurrentKind.Relu;
        }

        throw new QwixException($"Whether {module.GetName()} uses tanh or ReLU cannot be told from its weights, which are all zero or not finite: initialize or load them before the first quantized run.");
    }
}
