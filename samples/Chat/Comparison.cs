using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.Gguf;
using QwixSharp.Providers;
using QwixSharp.Samples.Common;
using Spectre.Console;

namespace QwixSharp.Samples.Chat;

/// <summary>Measures instead of talking.</summary>
internal static class Comparison
{
    private const int Window = 512, PromptTokens = 64, AnswerTokens = 64;

    /// <summary>The perplexity of a text under one scheme.</summary>
    internal static void Measure(string path, Scheme scheme, string textFile)
    {
        using var file = LlamaFile.Load(path);
        using var model = scheme.Apply(file.Model);
        var tokens = file.Tokenizer.Encode(File.ReadAllText(textFile));
        var result = AnsiConsole.Progress().Start(context =>
        {
            var task = context.AddTask($"{tokens.Count} tokens");
            return Perplexity.Of(model, tokens, Window, done => task.Value = done * task.MaxValue);
        });
        AnsiConsole.MarkupLineInterpolated($"{scheme}: perplexity {result:F3} over {tokens.Count} tokens in windows of {Window}");
    }

    /// <summary>One table over all schemes.</summary>
    internal static void Run(string path, string? textFile)
    {
        var table = new ResultTable(Path.GetFileName(path), "scheme", "bits a weight", "MB", "perplexity", "prompt tokens/s", "answer tokens/s");
        StepProgress.Run([.. Scheme.All.Select(scheme => (scheme.ToString(), (Action<Action<double>>)(report => table.Add(Row(path, scheme, textFile, report)))))]);
        table.Write();
    }

    /// <summary>Writes a quantized model as GGUF.</summary>
    internal static void Export(string path, Scheme scheme, string target)
    {
        using var checkpoint = Checkpoint.Open(path);
        var source = checkpoint as GgufCheckpoint ?? throw new ArgumentException("--export takes the metadata of the GGUF file that --model names; a folder has none.");
        using var file = LlamaFile.Load(path);
        using var model = scheme.Apply(file.Model);
        var weights = (model as IQuantizedModel ?? throw new ArgumentException("--export writes a quantized model: give --weight-qtype.")).Weights;
        GgufExport.Write(target, source, file.Model, weights);
        AnsiConsole.MarkupLineInterpolated($"{scheme}: {target}, {new FileInfo(target).Length / 1e6:F1} MB");
    }

    private static string[] Row(string path, Scheme scheme, string? textFile, Action<double> report)
    {
        using var file = LlamaFile.Load(path);
        long elements = file.Model.parameters().Sum(p => p.NumberOfElements);
        using var model = scheme.Apply(file.Model);
        var bytes = Scheme.Bytes(model);
        var perplexity = textFile is null ? "" : ResultTable.Number(Perplexity.Of(model, file.Tokenizer.Encode(File.ReadAllText(textFile)), Window, report), 2);
        using var cache = new TensorCache(file.Model.Config, PromptTokens + AnswerTokens);
        int[] prompt = [.. Enumerable.Range(100, PromptTokens)];
        var generator = new TextGenerator(model, cache, PromptTokens + AnswerTokens);
        // The first round makes what is made once.
        for (var round = 0; round < 2; round++)
        {
            cache.Trim(0);
            generator = new TextGenerator(model, cache, PromptTokens + AnswerTokens);
            _ = generator.Continue(prompt, new Sampler(new Sampling())).Count();
        }

        return
        [
            scheme.ToString(), ResultTable.Number(8.0 * bytes / elements, 2), ResultTable.Number(bytes / 1e6, 1), perplexity,
            ResultTable.Number(generator.Prompt.Tokens / generator.Prompt.Time.TotalSeconds, 0), ResultTable.Number(generator.Answer.Tokens / generator.Answer.Time.TotalSeconds, 0),
        ];
    }
}
