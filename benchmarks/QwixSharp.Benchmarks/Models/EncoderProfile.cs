using System.Diagnostics;
using QwixSharp.Arrays;
using QwixSharp.Interception;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Weights;
using QwixSharp.Ops;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Samples.Common;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Models;

/// <summary>Where the time of the MiniLM encoder goes: each op of the float32 model, and the kernels of the quantized products alone.</summary>
internal static class EncoderProfile
{
    private const int Tokens = 64;
    private const int Rounds = 30;

    public static void Run()
    {
        set_num_threads(2);
        using var noGrad = no_grad();
        foreach (var sentences in new[] { 1, 32 })
        {
            var encoder = new BertEncoder(new BertSize());
            encoder.eval();
            using Tensor ids = randint(0, 30000, [sentences, Tokens], int64), mask = ones(sentences, Tokens, int64);
            Console.WriteLine($"\n{sentences} × {Tokens} tokens; float32 {Milliseconds(() => encoder.call(ids, mask).Dispose()):F2} ms. Its ops, each as the model calls it:");
            foreach (var (op, (calls, microseconds)) in Ops(encoder, ids, mask).OrderByDescending(o => o.Value.Microseconds))
                Console.WriteLine($"  {calls,4} {op,-24} {microseconds / 1000,8:F3} ms {microseconds / calls,8:F1} µs each");
            foreach (var (qtype, tile) in new (string, Tiling?)[] { ("int8", null), ("int4", 32) })
            {
                var rule = new QuantizationRule { ModulePath = @"layers\.\d+\.\w+", WeightQType = qtype, TileSize = tile, ActQType = "int8" };
                var quantized = Qwix.QuantizeModel(encoder, new PtqProvider([rule]), ids, mask);
                PackedWeight[] weights = [.. ((IQuantizedModel)quantized).Weights.Values.Select(w => w.FindKernelForm<PackedForm>()!.Weight)];
                var rows = sentences * Tokens;
                using Tensor input = randn(rows, weights.Max(w => w.Depth)), output = empty(rows, weights.Max(w => w.Rows));
                Console.WriteLine($"{qtype} × int8: {Milliseconds(() => quantized.call(ids, mask).Dispose()):F2} ms; the kernels of its {weights.Length} products alone {Milliseconds(() => Products(weights, input, output, rows)):F2} ms");
            }
        }
    }

    private static unsafe void Products(PackedWeight[] weights, Tensor input, Tensor output, int rows)
    {
        float* x = (float*)TensorMemory.Address(input), y = (float*)TensorMemory.Address(output);
        foreach (var weight in weights)
            MatMul.Dynamic(x, weight.Depth, rows, weight, new ProductOutput((nint)y, weight.Rows), get_num_threads(), scalePerTile: weight.Tiles > 1);
    }

    private static Dictionary<string, (int Calls, double Microseconds)> Ops(BertEncoder model, Tensor ids, Tensor mask)
    {
        var timer = new OpTimer(call => call.Op.Method.Name + (call.Arguments.OfType<Tensor>().FirstOrDefault() is { } first ? $" [{string.Join(", ", first.shape)}]" : ""));
        var run = Interceptor.Rewrite<Func<object, Tensor, Tensor, Tensor>>(typeof(BertEncoder).GetMethod("forward")!);
        for (var round = 0; round < Rounds; round++)
            using (Interceptor.Enter(model, timer))
                run(model, ids, mask).Dispose();
        return timer.Times(Rounds);
    }

    private static double Milliseconds(Action work)
    {
        List<double> times = [];
        WarmUp.Run(work, fewest: 1, TimeSpan.FromSeconds(1));
        for (var round = 0; round < Rounds; round++)
        {
            var start = Stopwatch.GetTimestamp();
            work();
            times.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
        }

        return times.Order().ElementAt(Rounds / 2);
    }
}
