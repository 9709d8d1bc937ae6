using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Samples.Chat;

/// <summary>How well a model foresees a text: e to the mean of −log p(next token). Less is better.</summary>
public static class Perplexity
{
    /// <summary>Measures it.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokens">The tokens of a text.</param>
    /// <param name="window">The text is cut into pieces of so many tokens, which know nothing of each other.</param>
    /// <param name="report">Told what part is done.</param>
    /// <exception cref="ArgumentException">There are fewer than two tokens.</exception>
    public static double Of(Module<Tensor, IKeyValueCache?, int, Tensor> model, IReadOnlyList<int> tokens, int window, Action<double>? report = null)
    {
        if (tokens.Count < 2)
            throw new ArgumentException("A text of fewer than two tokens has no next token.", nameof(tokens));
        var (sum, count) = (0.0, 0);
        foreach (var piece in tokens.Chunk(window).Where(p => p.Length > 1))
        {
            sum += Loss(model, piece);
            count += piece.Length - 1;
            report?.Invoke((double)count / tokens.Count);
        }

        return Math.Exp(sum / count);
    }

    /// <summary>The sum of −log p(next token) over a row of tokens.</summary>
    public static double Loss(Module<Tensor, IKeyValueCache?, int, Tensor> model, IReadOnlyList<int> tokens)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var ids = tensor([.. tokens.Select(t => (long)t)]);
        var logits = model.call(ids.unsqueeze(0), null, 0)[0];
        return functional.cross_entropy(logits.narrow(0, 0, tokens.Count - 1), ids.narrow(0, 1, tokens.Count - 1), reduction: Reduction.Sum).item<float>();
    }
}
