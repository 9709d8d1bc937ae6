using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>What an embedding does to the gradient of its table.</summary>
/// <param name="PaddingIndex">A row that gets no gradient, or -1.</param>
/// <param name="ScaledByFrequency">Whether a row's gradient is divided by how often it was looked up.</param>
/// <param name="IsSparse">Whether the gradient is a sparse tensor.</param>
[NotIntercepted]
internal sealed record EmbeddingGradientOptions(long PaddingIndex, bool ScaledByFrequency, bool IsSparse);

/// <summary>Gives selected rows the gradient of an embedding, and leaves their values as they are.</summary>
internal static class EmbeddingGradient
{
    internal static Tensor Shape(Tensor rows, Tensor indices, long count, EmbeddingGradientOptions options)
    {
        if (options.PaddingIndex >= 0) rows = where(indices.ne(options.PaddingIndex).unsqueeze(-1), rows, rows.detach());
        if (!options.ScaledByFrequency) return rows;
        var ones = ones_like(indices, dtype: rows.dtype);
        var frequency = zeros([count], dtype: rows.dtype, device: rows.device).index_add(0, indices, ones, 1);
        var part = rows / frequency.index_select(0, indices).unsqueeze(-1);
        return rows.detach() + (part - part.detach());
    }
}
