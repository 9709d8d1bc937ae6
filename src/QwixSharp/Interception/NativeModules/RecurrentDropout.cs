using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>Measures the dropout probability of a native multi-layer recurrent module in training mode.</summary>
/// <remarks>
/// The dropped input of the second layer cannot be seen from outside, but its gradient can: for one step, the
/// gradient of a row of <c>weight_ih_l1</c> is δ·x and that of the same row of <c>weight_hh_l1</c> is δ·h, where h is
/// the state that was passed in. Hence x, which is 0 or 1 ÷ (1 − p) times the first layer's output.
/// </remarks>
[NotIntercepted]
internal static class RecurrentDropout
{
    private const double State = 0.5;

    internal static double Measure(nn.Module module, RecurrentOptions options, Func<Tensor, Tensor, Tensor> lastHidden)
    {
        lock (Probe.Gate) return Probe.KeepingRandomState(() => MeasureGradients(module, options, lastHidden));
    }

    private static double MeasureGradients(nn.Module module, RecurrentOptions options, Func<Tensor, Tensor, Tensor> lastHidden)
    {
        using var scope = NewDisposeScope();
        var second = options.Names[options.Directions];
        var input = ModuleParameters.Required(module, second.WeightInput);
        var recurrent = ModuleParameters.Required(module, second.WeightHidden);
        var features = ModuleParameters.Required(module, options.Names[0].WeightInput).shape[1];
        if (input.device.type == TorchSharp.DeviceType.META) return 0;
        var scales = new List<double>();
        var dropped = 0;
        for (var seed = 1; seed <= 64 && scales.Count < 16; seed++)
        {
            var x = Probe.Values(seed, input, 1, 1, features) * 2;
            var h = full([options.Layers * options.Directions, 1, options.HiddenSize], State, dtype: input.dtype, device: input.device);
            double[] first = [];
            var gradients = Probe.Gradients(
                module,
                () =>
                {
                    var states = lastHidden(x, h);
                    first = Probe.ToArray(states.narrow(0, 0, options.Directions));
                    return states.select(0, options.Directions);
                },
                input,
                recurrent);
            Collect(Probe.ToArray(gradients[0]), Probe.ToArray(gradients[1].select(1, 0)), first, options, scales, ref dropped);
        }

        if (scales.Count == 0 && dropped >= 64) return 1;
        if (scales.Count == 0)
            throw new QwixException($"The dropout of {module.GetName()} cannot be told from its weights, which let no gradient through: initialize or load them before the first quantized training step.");
        scales.Sort();
        return Probe.Probability(scales[scales.Count / 2], input.dtype);
    }

    private static void Collect(double[] inputGradient, double[] stateGradient, double[] first, RecurrentOptions options, List<double> scales, ref int dropped)
    {
        // In a GRU the last third of the rows, the candidate, has another δ for the two weights.
        var rows = options.Kind == RecurrentKind.Gru ? stateGradient.Length * 2 / 3 : stateGradient.Length;
        var row = 0;
        for (var i = 1; i < rows; i++)
        {
            if (Math.Abs(stateGradient[i]) > Math.Abs(stateGradient[row])) row = i;
        }

        var delta = stateGradient[row] / State;
        if (Math.Abs(delta) < 1e-6) return;
        var threshold = Math.Max(1e-4, 0.1 * first.Max(Math.Abs));
        for (var i = 0; i < first.Length; i++)
        {
            if (Math.Abs(first[i]) < threshold) continue;
            var scale = inputGradient[(row * first.Length) + i] / delta / first[i];
            if (Math.Abs(scale) < 0.5) dropped++;
            else scales.Add(scale);
        }
    }
}
