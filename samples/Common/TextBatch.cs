using Microsoft.ML.Tokenizers;
using static TorchSharp.torch;

namespace QwixSharp.Samples.Common;

/// <summary>Texts as the encoder takes them: token ids, filled up to the longest, and a mask that tells tokens from filling.</summary>
public sealed class TextBatch : IDisposable
{
    /// <summary>Turns texts into a batch.</summary>
    public TextBatch(BertTokenizer tokenizer, IReadOnlyList<string> texts)
    {
        var rows = texts.Select(text => tokenizer.EncodeToIds(text)).ToList();
        var width = rows.Max(row => row.Count);
        var ids = new long[rows.Count, width];
        var mask = new long[rows.Count, width];
        foreach (var (i, row) in rows.Index())
        {
            for (var j = 0; j < width; j++)
            {
                ids[i, j] = j < row.Count ? row[j] : tokenizer.PaddingTokenId;
                mask[i, j] = j < row.Count ? 1 : 0;
            }
        }

        Count = rows.Count;
        Ids = tensor(ids);
        Mask = tensor(mask);
    }

    /// <summary>How many texts there are.</summary>
    public int Count { get; }

    /// <summary>Token ids, int64, <c>[texts, tokens]</c>.</summary>
    public Tensor Ids { get; }

    /// <summary>1 where there is a token, 0 where there is filling; int64, <c>[texts, tokens]</c>.</summary>
    public Tensor Mask { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Ids.Dispose();
        Mask.Dispose();
    }
}
