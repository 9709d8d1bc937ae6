using System.Diagnostics;
using QwixSharp.Arrays;
using QwixSharp.Interception;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Weights;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using QwixSharp.Providers;
using QwixSharp.Samples.Chat;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Llm;

/// <summary>Where the time of one token goes: how many ops the model calls and how long each takes, and how long the kernels of its products take.</summary>
internal static class Profile
{
    private const int Rounds = 50;

    public static void Run(string path, Scheme scheme)
    {
        using var ours = new OurModel(path, scheme, 1024);
        ours.Read([1, 2, 3]);
        using var noGrad = no_grad();
        var ops = Time(ours.Original);
        Console.WriteLine($"\n{scheme}: {ops.Sum(o => o.Value.Calls)} ops a token. In float32: {string.Join(", ", ops.OrderByDescending(o => o.Value.Microseconds).Select(o => $"{o.Value.Calls} {o.Key} of {o.Value.Microseconds / o.Value.Calls:F1} µs"))}");

        var whole = Microseconds(() => ReadOne(ours));
        ours.UseCache(QType.Int8, 1024);
        ours.Read([1, 2, 3]);
        var withInt8Cache = Microseconds(() => ReadOne(ours));
        PackedWeight[] weights = [.. ((IQuantizedModel)ours.Model).Weights.Values.Select(w => w.FindKernelForm<PackedForm>()!.Weight)];
        using Tensor input = randn(weights.Max(w => w.Depth)), output = empty(weights.Max(w => w.Rows));
        var products = Microseconds(() => RunProducts(weights, input, output));
        using var single = randn(1, 1, ours.Original.Config.Width);
        var op = Microseconds(() => (single * single).Dispose());
        Console.WriteLine($"a token {whole:F0} µs, with an int8 cache {withInt8Cache:F0} µs; the kernels of its {weights.Length} products alone {products:F0} µs; one op on a token's state {op:F2} µs");
    }

    /// <summary>The calls of each op in a token of the float32 model whose products were given up, and the time of all its calls.</summary>
    private static Dictionary<string, (int Calls, double Microseconds)> Time(Llama model)
    {
        var timer = new OpTimer(call => call.Op.Method.Name);
        var run = Interceptor.Rewrite<Func<object, Tensor, IKeyValueCache?, int, Tensor>>(typeof(Llama).GetMethod("forward")!);
        for (var round = 0; round < Rounds; round++)
        {
            using var scope = NewDisposeScope();
            using var cache = new TensorCache(model.Config, 8);
            using (Interceptor.Enter(model, timer))
                run(model, zeros([1, 1], ScalarType.Int64), cache, 1);
        }

        return timer.Times(Rounds);
    }

    private static void ReadOne(OurModel ours)
    {
        ours.Trim(3);
        ours.Read([4]);
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
}
