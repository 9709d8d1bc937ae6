namespace QwixSharp.Benchmarks.Products;

/// <summary>The shapes of products in the MiniLM encoder: little depth, results larger than weights.</summary>
internal static class EncoderProducts
{
    private const int Width = 384, Inner = 1536;

    public static void Run(int rows)
    {
        var random = new Random(2);
        var race = new Race(processorTime: false);
        List<OurProducts> products = [];
        foreach (var (k, n) in new[] { (Width, Width), (Width, Inner), (Inner, Width) })
        {
            var x = new float[rows * k];
            for (var i = 0; i < x.Length; i++)
                x[i] = (float)random.NextDouble() - 0.5f;
            for (var threads = 1; threads <= 2; threads++)
            {
                var ours = new OurProducts(rows, k, n, x, threads);
                products.Add(ours);
                var of = $"{rows} × {k} → {n}, {threads} thread{(threads == 1 ? "" : "s")}";
                race.Add($"W8A8 {of}", Repeated(ours.Dynamic(8, k), rows));
                race.Add($"W4A8 tile 32 {of}", Repeated(ours.Dynamic(4, 32), rows));
            }
        }
        foreach (var (what, median, least) in race.Run())
            Console.WriteLine($"  {what,-42} median {1000 * median / Repeats(rows):F1} µs, least {1000 * least / Repeats(rows):F1}");
        products.ForEach(p => p.Dispose());
    }

    private static int Repeats(int rows) => Math.Max(1, 2048 / rows);

    private static Action Repeated(Action product, int rows) => () =>
    {
        for (var i = 0; i < Repeats(rows); i++)
            product();
    };
}
