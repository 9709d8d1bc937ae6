using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Samples.Common;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Digits;

/// <summary>
/// Accuracy on handwritten digits as the reference measures it: linear layers 64→64→64→10, Adam with batches of 50; 30 epochs in
/// float32, and 15 more in quantized numbers from there; mean of five seeds.
/// </summary>
internal static class DigitsBenchmark
{
    private const int Seeds = 5;
    private const double Tolerance = 0.8;

    /// <summary>The standard deviation that is left of a standard normal distribution cut off at ±2.</summary>
    private const double StdOfCutNormal = 0.87962566103423978;

    /// <summary>How much of a normal distribution lies within two standard deviations.</summary>
    private const double PartWithin = 0.95449973610364158;

    private static readonly (string Type, double Ptq, double Qat)[] Reference = [("int8", 97.3, 97.7), ("int4", 97.3, 97.6), ("int3", 96.2, 97.4), ("int2", 90.1, 96.3)];
    private const double ReferenceFloat = 97.2;

    public static void Run()
    {
        var training = new DigitsTraining(50, 64);
        var found = new Dictionary<string, List<double>>();
        for (int seed = 1; seed <= Seeds; seed++)
            Run(training, seed, (what, accuracy) => (found.TryGetValue(what, out var list) ? list : found[what] = []).Add(100 * accuracy));

        Console.WriteLine($"Accuracy in percent, mean of {Seeds} seeds; activations int8. Goal: no more than {Tolerance} below the reference.");
        Write("float32", found["float32"], ReferenceFloat);
        foreach (var (type, ptq, qat) in Reference)
        {
            Write("PTQ " + type, found["PTQ " + type], ptq);
            Write("QAT " + type, found["QAT " + type], qat);
        }
    }

    private static void Run(DigitsTraining training, int seed, Action<string, double> keep)
    {
        manual_seed(seed);
        using var example = training.Example;
        using var network = Network();
        training.Train(network, 30, 1e-3, seed);
        keep("float32", training.Accuracy(network));
        foreach (var (type, _, _) in Reference)
        {
            var rule = new QuantizationRule { WeightQType = type, ActQType = "int8" };
            using (var ptq = Qwix.QuantizeModel(network, new PtqProvider([rule]), example))
                keep("PTQ " + type, training.Accuracy(ptq));

            using var copy = Network();
            copy.load_state_dict(network.state_dict());
            using var qat = Qwix.QuantizeModel(copy, new QtProvider([rule]), example);
            training.Train(qat, 15, 5e-4, seed);
            keep("QAT " + type, training.Accuracy(qat));
        }
    }

    /// <summary>The layers begin as Flax's: weights of variance 1 ÷ inputs, normal but cut off at two standard deviations; no bias.</summary>
    private static nn.Module<Tensor, Tensor> Network()
    {
        TorchSharp.Modules.Linear[] layers = [nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)];
        foreach (var layer in layers)
        {
            double std = 1 / Math.Sqrt(layer.in_features) / StdOfCutNormal;
            using (no_grad())
            using (NewDisposeScope())
                layer.weight.copy_(erfinv((rand_like(layer.weight) * 2 - 1) * PartWithin) * Math.Sqrt(2) * std);
            nn.init.zeros_(layer.bias!);
        }

        return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]);
    }

    private static void Write(string what, List<double> ours, double reference) =>
        Console.WriteLine($"{what,-9} {ours.Average(),6:F1}   reference {reference:F1}   {(ours.Average() >= reference - Tolerance ? "reached" : "MISSED")}");
}
