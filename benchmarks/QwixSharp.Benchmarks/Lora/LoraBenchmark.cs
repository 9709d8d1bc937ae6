using System.Diagnostics;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Samples.Common;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Benchmarks.Lora;

/// <summary>
/// A training step of the MiniLM encoder with adapters on its linear layers, on a plain base and on one in nf4, against
/// full fine-tuning, all by AdamW: 16 texts of 32 tokens, in turn for some rounds.
/// </summary>
internal static class LoraBenchmark
{
    private const int Rounds = 9;

    private static readonly LoraRule Rule = new() { ModulePath = @"layers\.\d+\.\w+", OpNames = [OpNames.DotGeneral], Rank = 16, Alpha = 32 };

    /// <param name="processorTime">Whether to measure processor time instead of the time that passes, on a machine that has other work to do.</param>
    internal static void Run(bool processorTime)
    {
        using var ids = randint(0, 30000, [16, 32], int64);
        using var mask = ones(16, 32, int64);
        using var plain = new BertEncoder(new BertSize());
        using var frozen = new BertEncoder(new BertSize());
        using var lora = Qwix.ApplyLora(frozen, new LoraProvider(Rule), ids, mask);
        using var quantized = Qwix.ApplyLora(frozen, new LoraProvider(Rule with { WeightQType = "nf4", TileSize = 64 }), ids, mask);
        List<(string Name, Action Step, List<double> Times)> candidates =
        [
            ("full fine-tuning", Step(plain, ids, mask), []),
            ("LoRA, rank 16", Step(lora, ids, mask), []),
            ("QLoRA, nf4 tile 64, rank 16", Step(quantized, ids, mask), []),
        ];
        for (int round = -1; round < Rounds; round++)
        {
            foreach (var (_, step, times) in candidates)
            {
                double start = Milliseconds(processorTime);
                step();
                if (round >= 0)
                    times.Add(Milliseconds(processorTime) - start);
            }
        }

        double full = Median(candidates[0].Times);
        foreach (var (name, _, times) in candidates)
            Console.WriteLine($"{name,-28} {Median(times),8:f1} ms   {Median(times) / full,5:f2} of full fine-tuning   fastest {times.Min(),8:f1} ms");
    }

    private static Action Step(Module<Tensor, Tensor, Tensor> model, Tensor ids, Tensor mask)
    {
        var optimizer = optim.AdamW(model.parameters(), lr: 1e-4);
        model.train();
        return () =>
        {
            using var scope = NewDisposeScope();
            optimizer.zero_grad();
            model.call(ids, mask).square().mean().backward();
            optimizer.step();
        };
    }

    private static double Milliseconds(bool processorTime) => processorTime
        ? Environment.CpuUsage.TotalTime.TotalMilliseconds
        : Stopwatch.GetTimestamp() * 1000.0 / Stopwatch.Frequency;

    private static double Median(List<double> times) => times.Order().ElementAt(times.Count / 2);
}
