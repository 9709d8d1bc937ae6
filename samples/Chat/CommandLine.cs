using System.CommandLine;
using QwixSharp.Numerics;
using Spectre.Console;
using TorchSharp;

namespace QwixSharp.Samples.Chat;

/// <summary>The program's options.</summary>
internal static class CommandLine
{
    private static readonly Option<string> Model = new("--model") { Description = "A GGUF file, or a Hugging Face folder with safetensors.", Required = true };
    private static readonly Option<QType?> WeightQType = Type("--weight-qtype", "The type of the weights, such as int8, int4, nf4 or fp8; float32 unless told.");
    private static readonly Option<int?> TileSize = new("--tile-size") { Description = "How many values of a weight share a scale; a whole channel unless told." };
    private static readonly Option<QType?> ActQType = Type("--act-qtype", "The type of the activations, such as int8; float32 unless told.");
    private static readonly Option<string?> ScaleDtype = new("--scale-dtype") { Description = "Rounds the scales of tiles to float16 or bfloat16; float32 unless told." };
    private static readonly Option<QType?> KvQType = Type("--kv-qtype", "The type of the cache: int8, int4 or fp8; float32 unless told.");
    private static readonly Option<int> Context = new("--context") { Description = "How many tokens a conversation may have.", DefaultValueFactory = _ => 2048 };
    private static readonly Option<int> Threads = new("--threads") { Description = "How many threads compute; 0 for all.", DefaultValueFactory = _ => 0 };
    private static readonly Option<string?> Prompt = new("--prompt") { Description = "Answers one question and ends." };
    private static readonly Option<string> System = new("--system") { Description = "What the model is told first.", DefaultValueFactory = _ => ChatFormat.DefaultSystem };
    private static readonly Option<int> MaxTokens = new("--max-tokens") { Description = "The most tokens of an answer.", DefaultValueFactory = _ => 512 };
    private static readonly Option<float> Temperature = new("--temperature") { Description = "0 takes the likeliest token.", DefaultValueFactory = _ => 0.2f };
    private static readonly Option<int> TopK = new("--top-k") { Description = "Only so many of the likeliest tokens are drawn from; 0 for all.", DefaultValueFactory = _ => 40 };
    private static readonly Option<float> TopP = new("--top-p") { Description = "Only the likeliest tokens with this probability together are drawn from.", DefaultValueFactory = _ => 0.9f };
    private static readonly Option<int?> Seed = new("--seed") { Description = "Makes the answers repeatable." };
    private static readonly Option<string?> PerplexityOf = new("--perplexity") { Description = "Measures the perplexity of a text file instead of talking." };
    private static readonly Option<bool> Compare = new("--compare") { Description = "Compares schemes: bits, size, perplexity of the --perplexity file, tokens a second." };
    private static readonly Option<string?> Export = new("--export") { Description = "Writes the quantized model as a GGUF file that llama.cpp runs." };

    /// <summary>The command.</summary>
    internal static RootCommand Create()
    {
        var command = new RootCommand("Talks with a Llama model, quantized as told.")
        {
            Model, WeightQType, TileSize, ActQType, ScaleDtype, KvQType, Context, Threads, Prompt, System, MaxTokens, Temperature, TopK, TopP, Seed, PerplexityOf, Compare, Export,
        };
        ScaleDtype.AcceptOnlyFromAmong("float16", "bfloat16");
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult options)
    {
        if (options.GetValue(Threads) is > 0 and var threads)
            torch.set_num_threads(threads);
        var scheme = new Scheme(options.GetValue(WeightQType), options.GetValue(TileSize), options.GetValue(ActQType), ScaleDtypeOf(options.GetValue(ScaleDtype)));
        var path = options.GetValue(Model)!;
        try
        {
            if (options.GetValue(Compare))
                Comparison.Run(path, options.GetValue(PerplexityOf));
            else if (options.GetValue(PerplexityOf) is { } text)
                Comparison.Measure(path, scheme, text);
            else if (options.GetValue(Export) is { } target)
                Comparison.Export(path, scheme, target);
            else
                Talk(path, scheme, options);
            return 0;
        }
        catch (Exception error) when (error is QwixException or InvalidDataException or ArgumentException or IOException or UnauthorizedAccessException)
        {
            AnsiConsole.MarkupLineInterpolated($"[red]{error.Message}[/]");
            return 1;
        }
    }

    private static void Talk(string path, Scheme scheme, ParseResult options)
    {
        using var file = AnsiConsole.Status().Start("Reading the model", _ => LlamaFile.Load(path));
        using var model = AnsiConsole.Status().Start("Quantizing", _ => scheme.Apply(file.Model));
        var sampling = new Sampling(options.GetValue(Temperature), options.GetValue(TopK), options.GetValue(TopP), options.GetValue(Seed));
        using var conversation = new Conversation(file, model, options.GetValue(KvQType), Math.Min(options.GetValue(Context), file.Model.Config.Context), sampling, options.GetValue(MaxTokens));
        AnsiConsole.MarkupLineInterpolated($"[grey]{scheme}: {Scheme.Bytes(model) / 1e6:F1} MB of weights; cache of {conversation.CacheName}[/]");
        conversation.Begin(options.GetValue(System)!);
        if (options.GetValue(Prompt) is { } prompt)
            conversation.Ask(prompt);
        else
            conversation.Run();
    }

    private static torch.ScalarType? ScaleDtypeOf(string? name) => name switch
    {
        null => null,
        "float16" => torch.ScalarType.Float16,
        _ => torch.ScalarType.BFloat16,
    };

    private static Option<QType?> Type(string name, string description) => new(name)
    {
        Description = description,
        CustomParser = result =>
        {
            if (QType.TryParse(result.Tokens[0].Value, out var qtype))
                return qtype;
            result.AddError($"Unknown type \"{result.Tokens[0].Value}\" for {name}. Known are: {string.Join(", ", QType.All.Select(t => t.Name))}, and fp8.");
            return null;
        },
    };
}
