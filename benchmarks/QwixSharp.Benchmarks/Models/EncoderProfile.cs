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

    /// <summary>Until the runtime has compiled all that runs often for the second time, which takes longer where threads spin on all cores.</summary>
    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(3);

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
            foreach (var (op, (calls, milliseconds)) in Ops(encoder, ids, mask).OrderByDescending(o => o.Value.Milliseconds))
                Console.WriteLine($"  {calls,4} {op,-24} {milliseconds,8:F3} ms {1000 * milliseconds / calls,8:F1} µs each");
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

    private static Dictionary<string, (int Calls, double Milliseconds)> Ops(BertEncoder model, Tensor ids, Tensor mask)
    {
        var timer = new Timer();
        var run = Interceptor.Rewrite<Func<object, Tensor, Tensor, Tensor>>(typeof(BertEncoder).GetMethod("forward")!);
        for (var round = 0; round < Rounds; round++)
            using (Interceptor.Enter(model, timer))
                run(model, ids, mask).Dispose();
        return timer.Times.ToDictionary(t => t.Key, t => (t.Value.Count / Rounds, t.Value.Order().ElementAt(t.Value.Count / 2) * t.Value.Count / Rounds));
    }

    private static double Milliseconds(Action work)
    {
        List<double> times = [];
        for (var start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start) < WarmUp;)
            work();
        for (var round = 0; round < Rounds; round++)
        {
            var start = Stopwatch.GetTimestamp();
            work();
            times.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
        }

        return times.Order().ElementAt(Rounds / 2);
    }

    private sealed class Timer : IOpInterceptor
    {
        public Dictionary<string, List<double>> Times { get; } = [];

        public bool Wants(OpDescriptor op) => true;

        public object? Intercept(in OpCall call)
        {
            var name = call.Op.Method.Name + (call.Arguments.OfType<Tensor>().FirstOrDefault() is { } first ? $" [{string.Join(", ", first.shape)}]" : "");
            if (!Times.TryGetValue(name, out var times))
                Times[name] = times = [];
            var start = Stopwatch.GetTimestamp();
            var result = call.Proceed();
            times.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
            return result;
        }
    }
}
