using System.Diagnostics;
using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.Gguf;
using QwixSharp.Numerics;
using QwixSharp.Providers;
using QwixSharp.Samples.Chat;
using TorchSharp;

namespace QwixSharp.Benchmarks.Llm;

/// <summary>
/// A language model served by us and by llama.cpp: the same quantized weights, which we write for it as GGUF, in one process,
/// in turn.
/// </summary>
internal static class LlmBenchmark
{
    private const int Threads = 2, Context = 1024, Prompt = 64, Answer = 128, LongPrompt = 512, LongContext = 2048;

    private static readonly Scheme[] Schemes = [new(QType.Int4, 64, QType.Int8), new(QType.Int4, 32, QType.Int8, torch.ScalarType.Float16), new(QType.Int8, null, QType.Int8)];

    /// <param name="path">A GGUF file of a Llama model.</param>
    /// <param name="rounds">How often each measurement is repeated; the medians are shown.</param>
    /// <param name="part">What to measure: <c>peers</c>, <c>caches</c>, <c>profile</c>; all if empty.</param>
    public static void Run(string path, int rounds, string part)
    {
        torch.set_num_threads(Threads);
        if (part is "" or "peers")
            foreach (var scheme in Schemes)
                Compare(path, scheme, rounds);
        if (part is "" or "caches")
            CompareCaches(path, rounds);
        if (part is "" or "profile")
            Profile.Run(path, Schemes[0]);
    }

    private static void Compare(string path, Scheme scheme, int rounds)
    {
        var exported = Path.Combine(Path.GetTempPath(), $"qwixsharp-{Environment.ProcessId}.gguf");
        try
        {
            using var ours = new OurModel(path, scheme, Context);
            using (var source = (GgufCheckpoint)Checkpoint.Open(path))
                GgufExport.Write(exported, source, ours.Original, ((IQuantizedModel)ours.Model).Weights);
            using var theirs = new LlamaCpp(exported, Context, Threads);
            Report(scheme, ours, theirs, rounds);
        }
        finally
        {
            File.Delete(exported);
        }
    }

    private static void Report(Scheme scheme, OurModel ours, LlamaCpp theirs, int rounds)
    {
        List<double> ourDecode = [], withInt8Cache = [], theirDecode = [], ourPrompt = [], theirPrompt = [];
        WarmUp.Run(() => { ours.UseCache(QType.Int8, Context); Decode(ours); ours.UseCache(null, Context); Decode(ours); }, fewest: 1, TimeSpan.FromSeconds(1));
        for (var round = -1; round < rounds; round++)
        {
            ours.UseCache(QType.Int8, Context);
            var quantized = Decode(ours);
            ours.UseCache(null, Context);
            var decode = (Ours: Decode(ours), Theirs: Decode(theirs));
            var prompt = (Ours: LongPrompt / Seconds(() => { ours.Trim(0); ours.Read(Tokens(LongPrompt)); }), Theirs: LongPrompt / Seconds(() => { theirs.Clear(); theirs.Read(Tokens(LongPrompt), 0); }));
            if (round < 0)
                continue;
            withInt8Cache.Add(quantized);
            ourDecode.Add(decode.Ours);
            theirDecode.Add(decode.Theirs);
            ourPrompt.Add(prompt.Ours);
            theirPrompt.Add(prompt.Theirs);
        }

        Console.WriteLine($"\n{scheme}                      ours   llama.cpp   ratio");
        Line($"decode {Answer} after {Prompt}, tokens/s", Median(ourDecode), Median(theirDecode));
        Line("the same, our cache int8", Median(withInt8Cache), Median(theirDecode));
        Line($"prompt of {LongPrompt}, tokens/s", Median(ourPrompt), Median(theirPrompt));
        Line("weights, MB", ours.Bytes / 1e6, theirs.Bytes / 1e6);
    }

    private static double Decode(OurModel model)
    {
        model.Trim(0);
        var next = model.Read(Tokens(Prompt));
        return Answer / Seconds(() =>
        {
            for (var i = 0; i < Answer; i++)
                next = model.Read([next]);
        });
    }

    private static double Decode(LlamaCpp model)
    {
        model.Clear();
        var next = model.Read(Tokens(Prompt), 0);
        return Answer / Seconds(() =>
        {
            for (var i = 0; i < Answer; i++)
                next = model.Read([next], Prompt + i);
        });
    }

    /// <summary>Decoding near the end of a long context, with a cache of floats and one of int8.</summary>
    private static void CompareCaches(string path, int rounds)
    {
        const int tokens = 32;
        using var model = new OurModel(path, Schemes[0], 1);
        List<(double TokensPerSecond, long Bytes)> results = [];
        foreach (var qtype in new[] { null, QType.Int8 })
        {
            model.UseCache(qtype, LongContext);
            for (var start = 0; start < LongContext - tokens; start += Math.Min(256, LongContext - tokens - start))
                model.Read(Tokens(Math.Min(256, LongContext - tokens - start)));
            List<double> speeds = [];
            for (var round = 0; round < rounds; round++)
            {
                model.Trim(LongContext - tokens);
                var next = 7;
                speeds.Add(tokens / Seconds(() =>
                {
                    for (var i = 0; i < tokens; i++)
                        next = model.Read([next]);
                }));
            }

            results.Add((Median(speeds), model.CacheBytes));
        }

        Console.WriteLine($"\ncache of {LongContext} tokens             int8    float32   ratio");
        Line("decode, tokens/s", results[1].TokensPerSecond, results[0].TokensPerSecond);
        Line("memory, MB", results[1].Bytes / 1e6, results[0].Bytes / 1e6);
    }

    private static int[] Tokens(int count) => [.. Enumerable.Range(0, count).Select(i => 1000 + i * 37 % 20000)];

    private static void Line(string what, double ours, double theirs) => Console.WriteLine($"  {what,-32}{ours,9:F1} {theirs,9:F1} {ours / theirs,8:F2}");

    private static double Seconds(Action work)
    {
        // The other's threads may still spin.
        Thread.Sleep(50);
        var start = Stopwatch.GetTimestamp();
        work();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);
}
