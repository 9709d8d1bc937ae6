using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>EmbeddingBag: rows of a table, reduced by bags.</summary>
/// <remarks>
/// Run natively with <c>max_norm</c>, and in training with <c>sparse</c> or <c>scale_grad_by_freq</c>.
/// </remarks>
internal static class EmbeddingBagReplacement
{
    internal static Tensor Forward(EmbeddingBag module, Tensor input, Tensor? offsets, Tensor? perSampleWeights)
    {
        var options = EmbeddingBagOptions.Of(module);
        if (options.MustRunNatively) return options.RunNatively(module, input, offsets, perSampleWeights);
        if (perSampleWeights is not null && options.Mode != EmbeddingBagMode.Sum)
            throw new ArgumentException($"EmbeddingBag: per-sample weights need mode 'sum', this module has mode '{options.Mode}'.", nameof(perSampleWeights));
        using var scope = NewDisposeScope();
        var weight = options.Weight;
        var indices = input.reshape(-1).to(ScalarType.Int64);
        var starts = Starts(input, offsets, options.IncludeLastOffset);
        var bags = starts.shape[0];
        if (bags == 0) return zeros([0, weight.shape[1]], dtype: weight.dtype, device: weight.device).MoveToOuterDisposeScope();
        var positions = arange(indices.shape[0], dtype: ScalarType.Int64, device: input.device);
        var bagOf = searchsorted(starts, positions, right: true) - 1;

        var rows = weight.index_select(0, indices);
        if (is_grad_enabled() && weight.requires_grad) rows = EmbeddingGradient.Shape(rows, indices, weight.shape[0], options.Gradient);
        if (perSampleWeights is not null) rows = rows * perSampleWeights.reshape(-1, 1);

        var padding = options.Gradient.PaddingIndex;
        var counted = padding < 0 ? ones_like(indices, dtype: ScalarType.Bool) : indices.ne(padding);
        var reduced = options.Mode == EmbeddingBagMode.Max
            ? Largest(rows, bagOf, counted, starts)
            : Sum(rows, bagOf, counted, bags, options.Mode == EmbeddingBagMode.Mean);
        return reduced.MoveToOuterDisposeScope();
    }

    /// <summary>Where each bag starts in the flat indices.</summary>
    private static Tensor Starts(Tensor input, Tensor? offsets, bool includeLastOffset)
    {
        // libtorch takes the last of a matrix's offsets off as well, and then reads memory that is not its own.
        if (input.dim() == 2 && includeLastOffset)
            throw new ArgumentException("EmbeddingBag: with include_last_offset the input must have 1 dimension and offsets.", nameof(input));
        if (input.dim() == 2) return arange(0, input.shape[0], dtype: ScalarType.Int64, device: input.device) * input.shape[1];
        if (input.dim() != 1 || offsets is null)
            throw new ArgumentException("EmbeddingBag: the input must have 2 dimensions, or 1 dimension with offsets.", nameof(input));
        var starts = offsets.to(ScalarType.Int64);
        return includeLastOffset ? starts.narrow(0, 0, starts.shape[0] - 1) : starts;
    }

    private static Tensor Sum(Tensor rows, Tensor bagOf, Tensor counted, long bags, bool isMean)
    {
        var kept = where(counted.unsqueeze(-1), rows, zeros([1], dtype: rows.dtype, device: rows.device));
        var sum = zeros([bags, rows.shape[1]], dtype: rows.dtype, device: rows.device).index_add(0, bagOf, kept, 1);
        if (!isMean) return sum;
        var count = zeros([bags], dtype: rows.dtype, device: rows.device).index_add(0, bagOf, counted.to(rows.dtype), 1);
        return sum / count.clamp_min(1).unsqueeze(-1);
    }

    /// <summary>The largest value of each feature in each bag, 0 in an empty bag: over bags padded to one length.</summary>
    private static Tensor Largest(Tensor rows, Tensor bagOf, Tensor counted, Tensor starts)
    {
        var bags = starts.shape[0];
        if (rows.shape[0] == 0) return zeros([bags, rows.shape[1]], dtype: rows.dtype, device: rows.device);
        var place = arange(rows.shape[0], dtype: ScalarType.Int64, device: rows.device) - starts.index_select(0, bagOf);
        var longest = place.max().item<long>() + 1;
        var slot = (bagOf * longest) + place;
        var kept = where(counted.unsqueeze(-1), rows, full([1], double.NegativeInfinity, dtype: rows.dtype, device: rows.device));
        var padded = full([bags * longest, rows.shape[1]], double.NegativeInfinity, dtype: rows.dtype, device: rows.device).index_copy(0, slot, kept);
        var (largest, _) = padded.view(bags, longest, rows.shape[1]).max(1);
        return where(largest.isneginf(), zeros([1], dtype: rows.dtype, device: rows.device), largest);
    }
}
