using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>The parameter names of an attention block.</summary>
[NotIntercepted]
internal sealed class AttentionNames(string prefix)
{
    internal string InWeight { get; } = prefix + "in_proj_weight";

    internal string InBias { get; } = prefix + "in_proj_bias";

    internal string QueryWeight { get; } = prefix + "q_proj_weight";

    internal string KeyWeight { get; } = prefix + "k_proj_weight";

    internal string ValueWeight { get; } = prefix + "v_proj_weight";

    internal string KeyBias { get; } = prefix + "bias_k";

    internal string ValueBias { get; } = prefix + "bias_v";

    internal string OutWeight { get; } = prefix + "out_proj.weight";

    internal string OutBias { get; } = prefix + "out_proj.bias";
}

/// <summary>How a block attends.</summary>
/// <param name="Heads">The number of heads.</param>
/// <param name="AddZeroAttention">Whether a zero key and value are appended.</param>
/// <param name="Dropout">The dropout probability of the weights, 0 outside of training.</param>
[NotIntercepted]
internal sealed record AttentionSettings(long Heads, bool AddZeroAttention, double Dropout);

/// <summary>Multi-head attention as libtorch's C++ frontend computes it, in single ops ("Attention Is All You Need").</summary>
/// <remarks>
/// As in that frontend, <c>attn_mask</c> is added to the scores whatever its dtype is (true adds 1), and
/// <c>key_padding_mask</c> must be boolean.
/// </remarks>
internal static class Attention
{
    /// <summary>A number that lives on: TorchSharp hands the memory of a passing one to native code, and a finalizer could free it meanwhile.</summary>
    private static readonly TorchSharp.Scalar Hidden = double.NegativeInfinity;

    /// <summary>Attends. Shapes: query [L, N, E], key and value [S, N, ·].</summary>
    /// <returns>The output [L, N, E] and, if asked for, the weights averaged over heads, [N, L, S].</returns>
    internal static (Tensor Output, Tensor? Weights) Attend(nn.Module module, AttentionNames names, AttentionSettings settings, Tensor query, Tensor key, Tensor value, Tensor? keyPaddingMask, Tensor? attentionMask, bool needWeights)
    {
        if (query.dim() != 3) throw new ArgumentException($"query must have 3 dimensions (sequence, batch and features), got {query.dim()}.", nameof(query));
        using var scope = NewDisposeScope();
        var length = query.shape[0];
        var batch = query.shape[1];
        var (q, k, v) = Project(module, names, query, key, value);
        var width = q.shape[2];
        var size = width / settings.Heads;

        var extraKey = ModuleParameters.Optional(module, names.KeyBias);
        var extraValue = ModuleParameters.Optional(module, names.ValueBias);
        if (extraKey is not null && extraValue is not null)
        {
            k = cat([k, extraKey.repeat(1, batch, 1)], 0);
            v = cat([v, extraValue.repeat(1, batch, 1)], 0);
            if (attentionMask is not null) attentionMask = WithZeroColumn(attentionMask);
            if (keyPaddingMask is not null) keyPaddingMask = WithZeroColumn(keyPaddingMask);
        }

        q = SplitHeads(q * (1 / Math.Sqrt(size)), batch * settings.Heads, size);
        k = SplitHeads(k, batch * settings.Heads, size);
        v = SplitHeads(v, batch * settings.Heads, size);
        if (settings.AddZeroAttention)
        {
            var zero = zeros([batch * settings.Heads, 1, size], dtype: k.dtype, device: k.device);
            k = cat([k, zero], 1);
            v = cat([v, zero], 1);
            if (attentionMask is not null) attentionMask = WithZeroColumn(attentionMask);
            if (keyPaddingMask is not null) keyPaddingMask = WithZeroColumn(keyPaddingMask);
        }

        var weights = Weights(settings, q, k, batch, keyPaddingMask, attentionMask);
        var attended = bmm(weights, v).transpose(0, 1).reshape(length, batch, width);
        var output = nn.functional.linear(attended, ModuleParameters.Required(module, names.OutWeight), ModuleParameters.Optional(module, names.OutBias));
        if (!needWeights) return (output.MoveToOuterDisposeScope(), null);
        var average = weights.reshape(batch, settings.Heads, length, weights.shape[2]).sum(1) / settings.Heads;
        return (output.MoveToOuterDisposeScope(), average.MoveToOuterDisposeScope());
    }

    private static (Tensor Query, Tensor Key, Tensor Value) Project(nn.Module module, AttentionNames names, Tensor query, Tensor key, Tensor value)
    {
        var weight = ModuleParameters.Optional(module, names.InWeight);
        var bias = ModuleParameters.Optional(module, names.InBias);
        var width = ModuleParameters.Required(module, names.OutWeight).shape[0];
        if (weight is null)
        {
            return (
                nn.functional.linear(query, ModuleParameters.Required(module, names.QueryWeight), Part(bias, 0, width, 1)),
                nn.functional.linear(key, ModuleParameters.Required(module, names.KeyWeight), Part(bias, 1, width, 1)),
                nn.functional.linear(value, ModuleParameters.Required(module, names.ValueWeight), Part(bias, 2, width, 1)));
        }

        if (ReferenceEquals(key, value))
        {
            if (ReferenceEquals(query, key))
            {
                var all = nn.functional.linear(query, weight, bias).chunk(3, -1);
                return (all[0], all[1], all[2]);
            }

            var keyAndValue = nn.functional.linear(key, Part(weight, 1, width, 2)!, Part(bias, 1, width, 2)).chunk(2, -1);
            return (nn.functional.linear(query, Part(weight, 0, width, 1)!, Part(bias, 0, width, 1)), keyAndValue[0], keyAndValue[1]);
        }

        return (
            nn.functional.linear(query, Part(weight, 0, width, 1)!, Part(bias, 0, width, 1)),
            nn.functional.linear(key, Part(weight, 1, width, 1)!, Part(bias, 1, width, 1)),
            nn.functional.linear(value, Part(weight, 2, width, 1)!, Part(bias, 2, width, 1)));
    }

    /// <summary>A view of the rows of a joined projection that belong to some of query, key and value.</summary>
    private static Tensor? Part(Tensor? joined, long first, long width, long count) =>
        joined is null ? null : joined.narrow(0, first * width, count * width);

    private static Tensor SplitHeads(Tensor x, long rows, long size) =>
        x.contiguous().view(-1, rows, size).transpose(0, 1);

    private static Tensor WithZeroColumn(Tensor mask)
    {
        var shape = mask.shape;
        shape[^1] = 1;
        return cat([mask, zeros(shape, dtype: mask.dtype, device: mask.device)], -1);
    }

    private static Tensor Weights(AttentionSettings settings, Tensor query, Tensor key, long batch, Tensor? keyPaddingMask, Tensor? attentionMask)
    {
        var scores = bmm(query, key.transpose(1, 2));
        if (attentionMask is not null) scores = scores + attentionMask;
        if (keyPaddingMask is not null)
        {
            var shape = scores.shape;
            var padded = keyPaddingMask.unsqueeze(1).unsqueeze(2);
            scores = scores.view(batch, settings.Heads, shape[1], shape[2]).masked_fill(padded, Hidden).view(shape);
        }

        var weights = nn.functional.softmax(scores, -1);
        return settings.Dropout > 0 ? nn.functional.dropout(weights, settings.Dropout, true) : weights;
    }
}
