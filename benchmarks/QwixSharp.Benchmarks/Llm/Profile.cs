using System.Diagnostics;
using QwixSharp.Arrays;
using QwixSharp.Interception;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Weights;
using QwixSharp.Ops;
using QwixSharp.Providers;
using QwixSharp.Samples.Chat;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Llm;

/// <summary>Where the time of one token goes: how many ops the model calls, and how long its products alone take.</summary>
internal static class Profile
{
    private const int Rounds = 50;

    public static void Run(string path, Scheme scheme)
    {
        using var ours = new OurModel(path, scheme, 1024);
        ours.Read([1, 2, 3]);
        using var noGrad = no_grad();
        var counts = Count(ours.Original);
        Console.WriteLine($"\n{scheme}: {counts.Values.Sum()} ops a token: {string.Join(", ", counts.OrderByDescending(c => c.Value).Select(c => $"{c.Value} {c.Key}"))}");

        var whole = Microseconds(() =>
        {
            ours.Trim(3);
            ours.Read([4]);
        });
        PackedWeight[] weights = [.. ((IQuantizedModel)ours.Model).Weights.Values.Select(w => w.MadeForm<PackedForm>()!.Weight)];
        using Tensor input = randn(weights.Max(w => w.Depth)), output = empty(weights.Max(w => w.Rows));
        var products = Microseconds(() => RunProducts(weights, input, output));
        using var single = randn(1, 1, ours.Original.Config.Width);
        var op = Microseconds(() => (single * single).Dispose());
        Console.WriteLine($"a token {whole:F0} µs; the kernels of its {weights.Length} products alone {products:F0} µs; one op on a token's state {op:F2} µs");
    }

    private static Dictionary<string, int> Count(Llama model)
    {
        var counter = new Counter();
        using var scope = NewDisposeScope();
        using var cache = new TensorCache(model.Config, 8);
        var run = Interceptor.Rewrite<Func<object, Tensor, IKeyValueCache?, int, Tensor>>(typeof(Llama).GetMethod("forward")!);
        using (Interceptor.Enter(model, counter))
            run(model, zeros([1, 1], ScalarType.Int64), cache, 1);
        return counter.Counts;
    }

    /// <summary>The products of one token, kernels alone.</summary>
    private static unsafe void RunProducts(IEnumerable<PackedWeight> weights, Tensor input, Tensor output)
    {
        float* x = (float*)TensorMemory.Address(input), y = (float*)TensorMemory.Address(output);
        foreach (var weight in weights)
            MatMul.Dynamic(x, weight.Depth, 1, weight, new ProductOutput((nint)y, weight.Rows), get_num_threads(), scalePerTile: weight.Tiles > 1);
    }

    private static double Microseconds(Action work)
    {
        List<double> times = [];
        for (var round = 0; round < Rounds; round++)
        {
            var start = Stopwatch.GetTimestamp();
            work();
            times.Add(Stopwatch.GetElapsedTime(start).TotalMicroseconds);
        }

        return times.Order().ElementAt(Rounds / 2);
    }

    private sealed class Counter : IOpInterceptor
    {
        public Dictionary<string, int> Counts { get; } = [];

        public bool Wants(OpDescriptor op)
        {
            Counts[op.Method.Name] = Counts.GetValueOrDefault(op.Method.Name) + 1;
            return false;
        }

        public object? Intercept(in OpCall call) => call.Proceed();
    }
}
