using QwixSharp.Numerics;
using Spectre.Console;
using static TorchSharp.torch;

namespace QwixSharp.Samples.Chat;

/// <summary>A conversation on the console: answers stream as they are made, and Ctrl-C ends an answer, then the program.</summary>
internal sealed class Conversation : IDisposable
{
    private readonly LlamaFile _file;
    private readonly ChatFormat _format;
    private readonly IKeyValueCache _cache;
    private readonly TextGenerator _generator;
    private readonly Sampler _sampler;
    private readonly int _maxTokens;
    private readonly List<int> _pending = [];
    private volatile bool _answering;
    private volatile bool _stopped;

    /// <summary>Makes a conversation.</summary>
    /// <param name="file">Gives the tokenizer.</param>
    /// <param name="model">The model, quantized or not.</param>
    /// <param name="cacheType">The type of the cache; null for float32.</param>
    /// <param name="context">The most tokens of the conversation.</param>
    /// <param name="sampling">How tokens are chosen.</param>
    /// <param name="maxTokens">The most tokens of an answer.</param>
    public Conversation(LlamaFile file, nn.Module<Tensor, IKeyValueCache?, int, Tensor> model, QType? cacheType, int context, Sampling sampling, int maxTokens)
    {
        (_file, _maxTokens, _sampler) = (file, maxTokens, new Sampler(sampling));
        _format = new ChatFormat(file.Tokenizer);
        _cache = cacheType is null ? new TensorCache(file.Model.Config, context) : new QuantizedCache(file.Model.Config, cacheType, context);
        _generator = new TextGenerator(model, _cache, context);
        CacheName = $"{cacheType?.Name ?? "float32"}, {CacheBytes / 1e6:F1} MB for {context} tokens";
        Console.CancelKeyPress += Stop;
    }

    /// <summary>The cache's type and memory.</summary>
    public string CacheName { get; }

    private long CacheBytes => _cache is QuantizedCache quantized ? quantized.ByteSize : ((TensorCache)_cache).ByteSize;

    /// <summary>Tells the model what it is.</summary>
    public void Begin(string system) => _pending.AddRange(_format.Begin(system));

    /// <summary>Reads questions and answers them, until the input ends.</summary>
    public void Run()
    {
        AnsiConsole.MarkupLine("[grey]Ctrl-C stops an answer, and ends the program between answers.[/]");
        while (true)
        {
            AnsiConsole.Markup("[green]> [/]");
            if (Console.ReadLine() is not { } question)
                break;
            if (question.Trim().Length > 0)
                Ask(question);
        }

        Console.WriteLine();
    }

    /// <summary>Answers a question.</summary>
    /// <exception cref="ArgumentException">It does not fit the context.</exception>
    public void Ask(string question)
    {
        (_answering, _stopped) = (true, false);
        _pending.AddRange(_format.Turn(question));
        var text = _format.Decoder();
        var (prompt, answer) = (_generator.Prompt, _generator.Answer);
        var (count, ended) = (0, false);
        foreach (var id in _generator.Continue(_pending, _sampler))
        {
            if (ended = _file.EndTokens.Contains(id))
                break;
            Console.Write(text(id));
            if (++count == _maxTokens || _stopped)
                break;
        }

        _pending.Clear();
        _pending.AddRange(_format.EndOfAnswer);
        _answering = false;
        Console.WriteLine();
        AnsiConsole.MarkupLineInterpolated($"[grey]prompt {Speed(prompt, _generator.Prompt)}, answer {Speed(answer, _generator.Answer)}; {_cache.Length} tokens of context{(ended ? "" : "; cut off")}[/]");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Console.CancelKeyPress -= Stop;
        ((IDisposable)_cache).Dispose();
    }

    private static string Speed((int Tokens, TimeSpan Time) before, (int Tokens, TimeSpan Time) after)
    {
        int tokens = after.Tokens - before.Tokens;
        return tokens == 0 ? "0 tokens" : $"{tokens} tokens, {tokens / (after.Time - before.Time).TotalSeconds:F1} a second";
    }

    private void Stop(object? sender, ConsoleCancelEventArgs e)
    {
        e.Cancel = _answering;
        _stopped = true;
    }
}
