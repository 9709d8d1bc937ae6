using System.Runtime.Intrinsics.X86;
using QwixSharp.Benchmarks.Peers;
using QwixSharp.Kernels.Assembled;
using TorchSharp;

namespace QwixSharp.Benchmarks.Products;

/// <summary>Our products against ONNX Runtime's and libtorch's, two threads each.</summary>
internal static class MatMulBenchmark
{
    private static readonly (int M, int K, int N)[] Shapes = [(1, 4096, 4096), (1, 4096, 16384), (4, 4096, 4096), (32, 4096, 4096), (512, 2048, 2048)];

    private static readonly float[] Nf4 =
    [
        -1.0f, -0.6961928f, -0.52507305f, -0.3949175f, -0.28444138f, -0.18477343f, -0.091050036f, 0f,
        0.0795803f, 0.1609302f, 0.2461123f, 0.33791524f, 0.44070983f, 0.5626170f, 0.72295684f, 1f,
    ];

    private static readonly float[] E4M3 = [.. Enumerable.Range(0, 256).Select(Fp8)];

    /// <param name="filter">Part of the name of the candidates of ours to run; all if empty.</param>
    /// <param name="rows">The M of the shapes to run; all if 0.</param>
    /// <param name="processorTime">One thread each and its processor time, for a machine that does other work.</param>
    public static void Run(string filter, int rows, bool processorTime)
    {
        var threads = processorTime ? 1 : 2;
        torch.set_num_threads(threads);
        Console.WriteLine($"avx2 {Avx2.IsSupported}, avx512bw {Avx512BW.IsSupported}, avx-vnni {AvxVnni.IsSupported}, assembled {AssembledMachine.IsAvailable}, avx512-vnni {AssembledMachine.HasVnni}; {threads} threads");
        foreach (var (m, k, n) in Shapes.Where(s => rows is 0 || s.M == rows))
            Shape(m, k, n, filter, threads, processorTime);
    }

    private static void Shape(int m, int k, int n, string filter, int threads, bool processorTime)
    {
        var random = new Random(3);
        var x = new float[m * k];
        for (var i = 0; i < x.Length; i++)
            x[i] = (float)(random.NextDouble() * 2 - 1);
        using var ours = new OurProducts(m, k, n, x, threads);
        using var float32 = OnnxProduct.Float32(m, k, n, x, threads);
        using var int8 = OnnxProduct.DynamicInt8(m, k, n, x, threads);
        using var int4Block32 = OnnxProduct.Int4(m, k, n, 32, 4, x, threads);
        using var int4Block128 = OnnxProduct.Int4(m, k, n, 128, 4, x, threads);
        using var torchX = torch.tensor(x).reshape(m, k);
        using var torchW = torch.randn(n, k);

        var race = new Race(processorTime);
        race.Add("ort f32", float32.Run);
        race.Add("ort int8", int8.Run);
        race.Add("ort int4/32", int4Block32.Run);
        race.Add("ort int4/128", int4Block128.Run);
        race.Add("torch f32", () => torch.nn.functional.linear(torchX, torchW).Dispose());
        foreach (var (name, peer, run) in Ours(ours, k))
            if (name.Contains(filter, StringComparison.OrdinalIgnoreCase))
                race.Add($"{name}|{peer}", run);
        Report(m, k, n, race.Run());
    }

    private static IEnumerable<(string Name, string Peer, Action Run)> Ours(OurProducts ours, int k)
    {
        yield return ("W8A8", "ort int8", ours.Dynamic(8, k));
        yield return ("W8A8/128", "ort int8", ours.Dynamic(8, 128));
        yield return ("W4A8/32", "ort int4/32", ours.Dynamic(4, 32));
        yield return ("W4A8/128", "ort int4/128", ours.Dynamic(4, 128));
        yield return ("W4A8", "ort int4/128", ours.Dynamic(4, k));
        yield return ("W8 only", "ort f32", ours.WeightOnly(8, k));
        yield return ("W4/32 only", "ort f32", ours.WeightOnly(4, 32));
        yield return ("nf4/64 only", "ort f32", ours.WeightOnly(Nf4, 64));
        yield return ("fp8 only", "ort f32", ours.WeightOnly(E4M3, k));
    }

    private static void Report(int m, int k, int n, IReadOnlyList<(string Name, double Median, double Least)> results)
    {
        Console.WriteLine($"\nM={m} K={k} N={n}            median ms  least ms   GMAC/s   ours / peer: medians, leasts");
        var peers = results.Where(r => !r.Name.Contains('|')).ToDictionary(r => r.Name);
        foreach (var (name, median, least) in results)
        {
            var parts = name.Split('|');
            var gmacs = (double)m * k * n / least / 1e6;
            var against = parts.Length == 1 ? "" : $"  {median / peers[parts[1]].Median,6:F2} {least / peers[parts[1]].Least,6:F2} x {parts[1]}";
            Console.WriteLine($"  {parts[0],-26}{median,9:F3} {least,9:F3} {gmacs,8:F0}{against}");
        }
    }

    private static float Fp8(int code)
    {
        var exponent = (code & 0x7F) >> 3;
        var fraction = (code & 7) / 8.0;
        var magnitude = exponent == 0 ? fraction * Math.ScaleB(1, -6) : (1 + fraction) * Math.ScaleB(1, exponent - 7);
        return (code & 0x7F) == 0x7F ? float.NaN : (float)(code >= 128 ? -magnitude : magnitude);
    }
}
