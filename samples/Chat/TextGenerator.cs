using System.Diagnostics;
using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace QwixSharp.Samples.Chat;

/// <summary>Continues a text token by token.</summary>
public sealed class TextGenerator(nn.Module<Tensor, IKeyValueCache?, int, Tensor> model, IKeyValueCache cache, int context)
{
    /// <summary>How many tokens of prompts were read, and in what time.</summary>
    public (int Tokens, TimeSpan Time) Prompt { get; private set; }

    /// <summary>How many tokens were made after the first of each answer, and in what time.</summary>
    public (int Tokens, TimeSpan Time) Answer { get; private set; }

    /// <summary>Reads a prompt and continues it until the caller stops or the context is full.</summary>
    /// <param name="prompt">The tokens behind those that the cache has.</param>
    /// <param name="sampler">Chooses.</param>
    /// <exception cref="ArgumentException">The prompt is empty, or longer than what is left of the context.</exception>
    public IEnumerable<int> Continue(IReadOnlyList<int> prompt, Sampler sampler)
    {
        if (prompt.Count == 0)
            throw new ArgumentException("The prompt is empty.", nameof(prompt));
        if (cache.Length + prompt.Count > context)
            throw new ArgumentException($"The prompt of {prompt.Count} tokens does not fit: the context is {context} tokens, of which {cache.Length} are taken.", nameof(prompt));
        var start = Stopwatch.GetTimestamp();
        var next = Next(prompt, sampler);
        Prompt = (Prompt.Tokens + prompt.Count, Prompt.Time + Stopwatch.GetElapsedTime(start));
        while (true)
        {
            yield return next;
            if (cache.Length >= context)
                yield break;
            start = Stopwatch.GetTimestamp();
            next = Next([next], sampler);
            Answer = (Answer.Tokens + 1, Answer.Time + Stopwatch.GetElapsedTime(start));
        }
    }

    private int Next(IReadOnlyList<int> tokens, Sampler sampler)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var ids = tensor([.. tokens.Select(t => (long)t)]).unsqueeze(0);
        return sampler.Choose(MemoryMarshal.Cast<byte, float>(model.call(ids, cache, 1).bytes));
    }
}
