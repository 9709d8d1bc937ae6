using System.Diagnostics;
using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Benchmarks.Models;

/// <summary>
/// Resident memory of a 512 MB model after post-training quantization with its floating-point weights given up, against
/// the bytes of its quantized state.
/// </summary>
internal static class MemoryBenchmark
{
    private const int Width = 4096;
    private const int Layers = 8;

    private static readonly Dictionary<string, QuantizationRule> Schemes = new()
    {
        ["int8"] = new() { WeightQType = "int8" },
        ["int8 x int8"] = new() { WeightQType = "int8", ActQType = "int8" },
        ["int4 tile 32"] = new() { WeightQType = "int4", TileSize = 32 },
        ["int4 per channel"] = new() { WeightQType = "int4" },
        ["nf4 tile 64"] = new() { WeightQType = "nf4", TileSize = 64 },
        ["fp8"] = new() { WeightQType = "fp8" },
    };

    /// <summary>Measures one scheme, or all of them, each in a process of its own: freed memory is not always given back.</summary>
    internal static void Run(string? scheme)
    {
        if (scheme is not null)
        {
            Measure(scheme, Schemes[scheme]);
            return;
        }

        Console.WriteLine($"{"scheme",-18}{"float MB",10}{"quantized MB",14}{"resident MB",13}{"ratio",8}");
        foreach (var name in Schemes.Keys)
        {
            using var child = Process.Start(Environment.ProcessPath!, ["memory", name]);
            child.WaitForExit();
        }
    }

    private static void Measure(string name, QuantizationRule rule)
    {
        using var noGrad = no_grad();
        using var input = randn(1, Width);
        // The first use of the library's and libtorch's code costs memory that no model is to blame for.
        using (var warm = Linear(64, 64))
        using (var quantized = Qwix.QuantizeModel(warm, new PtqProvider([rule]), randn(1, 64)))
            quantized.call(randn(1, 64)).Dispose();
        long before = Resident();

        using var model = Sequential([.. Enumerable.Range(0, Layers).Select(i => ($"layer{i}", (Module<Tensor, Tensor>)Linear(Width, Width, hasBias: false)))]);
        long floatBytes = model.parameters().Sum(p => p.NumberOfElements * p.ElementSize);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider([rule]), input);
        long quantizedBytes = ptq.Weights.Values.Sum(w => w.ByteSize);
        ptq.ReleaseOriginalWeights();
        ptq.call(input).Dispose();
        long resident = Resident() - before;
        Console.WriteLine($"{name,-18}{floatBytes / 1e6,10:f1}{quantizedBytes / 1e6,14:f1}{resident / 1e6,13:f1}{(double)resident / quantizedBytes,8:f3}");
    }

    private static long Resident()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        using var process = Process.GetCurrentProcess();
        return process.WorkingSet64;
    }
}
