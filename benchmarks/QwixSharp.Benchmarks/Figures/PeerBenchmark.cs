using System.Globalization;
using System.Runtime.Intrinsics.X86;
using System.Text.Json;
using QwixSharp.Benchmarks.Products;
using QwixSharp.Kernels.Assembled;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Figures;

/// <summary>
/// Ours against libtorch, ONNX Runtime and ggml in one process: each line's time, the goal of this kind of machine, and whether
/// our result agrees with plain arithmetic.
/// </summary>
internal static class PeerBenchmark
{
    /// <summary>As documented for the file.</summary>
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    private static bool HasVnni => AssembledMachine.HasVnni;

    /// <param name="filter">Part of the names of the rows to measure; if empty, all that have a goal of the project.</param>
    /// <param name="file">Where the rows go as JSON, or null.</param>
    /// <param name="threads">How many threads each candidate has. The goals are for 2; 1 suits a machine that does other work.</param>
    /// <returns>The exit code: 1 when a result of ours is wrong.</returns>
    public static int Run(string filter, string? file, int threads)
    {
        set_num_threads(threads);
        using var noGrad = no_grad();
        Console.WriteLine($"AVX2 {Avx2.IsSupported}, AVX-512 BW {Avx512BW.IsSupported}, AVX-512 VNNI {AssembledMachine.HasVnni}, AVX-VNNI {AvxVnni.IsSupported}, assembled {AssembledMachine.IsAvailable}; goals of {(HasVnni ? "AVX-512 VNNI" : "AVX2")}; {threads} threads each");
        Console.WriteLine($"{"work",-54}{"ours ms",10}{"peer ms",10}{"ratio",8}{"goal",7}  exact  best peer");
        List<FigureRow> rows = [];
        foreach (var contest in Contests(threads, isWhole: filter.Length == 0))
        {
            List<Figure> figures = [.. contest.Where(f => f.Name.Contains(filter, StringComparison.OrdinalIgnoreCase))];
            if (figures.Count == 0)
                continue;
            foreach (var best in Add(rows, Contest.Run(figures, HasVnni)).DistinctBy(r => r.Name))
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{best.Name,-54}{best.OursMs,10:F3}{best.PeerMs,10:F3}{best.Ratio,8:F2}{best.Goal,7:F2}  {(best.Exact ? "yes" : "NO"),-7}{best.Peer}{(best.Ratio <= best.Goal ? "" : "  (missed)")}"));
            GC.Collect();
        }
        if (file is not null)
            File.WriteAllText(file, JsonSerializer.Serialize(new { Rows = rows }, Json));
        return rows.All(r => r.Exact) ? 0 : 1;
    }

    private static IEnumerable<FigureRow> Add(List<FigureRow> all, IEnumerable<FigureRow> some)
    {
        var first = all.Count;
        all.AddRange(some);
        return all.Skip(first);
    }

    /// <summary>Figures that run interleaved; those of one shape share their peers.</summary>
    private static IEnumerable<IEnumerable<Figure>> Contests(int threads, bool isWhole)
    {
        yield return Products(threads, 1, 4096, 4096, p => [.. p.Quantized((0.75, 1.0), (1.1, 1.0), (0.5, 0.9))]);
        yield return Products(threads, 1, 4096, 4096, p => [.. p.WeightOnlyRow((1.0, 1.2), 1.2)]);
        yield return Products(threads, 1, 4096, 16384, p => [.. p.Quantized((0.9, 0.95), null, (0.65, 0.9)), p.Bandwidth(1 / 0.85)]);
        yield return Products(threads, 4, 4096, 4096, p => [.. p.Quantized((0.75, 1.0), (1.1, 1.0), (0.45, 0.7))]);
        yield return Products(threads, 32, 4096, 4096, p => [.. p.Quantized((0.95, 1.0), (1.1, 1.0), (0.45, 0.6))]);
        yield return Products(threads, 32, 4096, 4096, p => [.. p.WeightOnlyRows(0.95)]);
        yield return Products(threads, 512, 2048, 2048, p => [.. p.Quantized((0.95, 1.0), (1.1, 1.0), (0.38, 0.55))]);
        yield return Products(threads, 512, 2048, 2048, p => [.. p.WeightOnlyRows(0.95)]);
        foreach (var shape in ConvolutionBenchmark.Shapes)
            yield return [ConvolutionFigure.Of(shape, threads, 1.0)];
        yield return ModelFigures.MiniLM(1, threads, 1.0);
        yield return ModelFigures.MiniLM(32, threads, 1.0);
        yield return [ModelFigures.ResNet18(threads, 1.0)];
        if (!isWhole)
        {
            yield return [ModelFigures.ResNet18Dynamic(threads, 1.0)];
            yield return [ModelFigures.MobileNetV2(threads, 1.0)];
        }

        yield return PassFigures.FakeQuant(threads, 1 / 0.7);
    }

    private static IEnumerable<Figure> Products(int threads, int m, int k, int n, Func<ProductFigures, Figure[]> figures) => figures(new ProductFigures(m, k, n, threads));
}
