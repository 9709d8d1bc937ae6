using System.Diagnostics;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Training;

/// <summary>
/// The time of a training step with quantization against that of the plain step: three models of the same numbers take their
/// steps in turn, and the medians are compared.
/// </summary>
internal static class TrainingBenchmark
{
    private const int FewestWarmUps = 3;
    private const int FewestRounds = 9;
    private const int MostRounds = 101;

    private static readonly TimeSpan CompiledEnough = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Enough = TimeSpan.FromSeconds(12);

    private static readonly QuantizationRule Qat = new() { WeightQType = "int8", ActQType = "int8" };
    private static readonly QtRule Gradients = new() { WeightQType = "int8", ActQType = "int8", BwdQType = "int8" };

    /// <summary>Runs the cases whose names contain a text.</summary>
    /// <param name="filter">The text.</param>
    /// <param name="processorTime">Whether to count the processor time of one thread: for a machine that has other work to do.</param>
    internal static void Run(string filter, bool processorTime)
    {
        if (processorTime)
            set_num_threads(1);
        Console.WriteLine($"{"",-24}{"plain ms",10}{"QAT",8}{"goal",8}{"",10}{"int8 gradients",16}{"goal",8}");
        foreach (var training in TrainingCase.All().Where(c => c.Name.Contains(filter, StringComparison.OrdinalIgnoreCase)))
            Measure(training, processorTime);
    }

    private static void Measure(TrainingCase training, bool processorTime)
    {
        using Contender plain = new(training, null, processorTime), qat = new(training, Qat, processorTime), gradients = new(training, Gradients, processorTime);
        Contender[] contenders = [plain, qat, gradients];
        int warmUps = 0;
        WarmUp.Run(() => Take(contenders, warmUps++, isMeasured: false), FewestWarmUps, CompiledEnough);
        var watch = Stopwatch.StartNew();
        for (int round = 0; round < MostRounds && (round < FewestRounds || watch.Elapsed < Enough); round++)
            Take(contenders, round, isMeasured: true);

        double step = plain.Median, ofQat = qat.Median / step, ofGradients = gradients.Median / step;
        Console.WriteLine(
            $"{training.Name,-24}{step,10:f2}{ofQat,8:f2}{training.Goals.Qat,8:f2}{Verdict(ofQat, training.Goals.Qat),10}" +
            $"{ofGradients,16:f2}{training.Goals.Gradients,8:f2}{Verdict(ofGradients, training.Goals.Gradients),10}");
    }

    private static void Take(Contender[] contenders, int round, bool isMeasured)
    {
        // Each goes first in turn: what one leaves in the caches helps or hurts the next.
        for (int i = 0; i < contenders.Length; i++)
            contenders[(i + round) % contenders.Length].Step(isMeasured);
    }

    private static string Verdict(double ratio, double goal) => ratio <= goal ? "reached" : "missed";

    /// <summary>One model and its optimizer.</summary>
    private sealed class Contender : IDisposable
    {
        private readonly List<double> _times = [];
        private readonly nn.Module _model;
        private readonly Func<Tensor> _loss;
        private readonly optim.Optimizer _optimizer;
        private readonly bool _processorTime;

        internal Contender(TrainingCase training, QuantizationRule? rule, bool processorTime)
        {
            _processorTime = processorTime;
            manual_seed(1);
            (_model, _loss) = training.Make(rule);
            _model.train();
            _optimizer = optim.SGD(_model.parameters(), 1e-3);
        }

        internal double Median => _times.Order().ElementAt(_times.Count / 2);

        internal void Step(bool isMeasured)
        {
            double start = Clock.Milliseconds(_processorTime);
            using (NewDisposeScope())
            {
                _optimizer.zero_grad();
                _loss().backward();
                _optimizer.step();
            }

            if (isMeasured)
                _times.Add(Clock.Milliseconds(_processorTime) - start);
        }

        public void Dispose()
        {
            _optimizer.Dispose();
            _model.Dispose();
        }
    }
}
