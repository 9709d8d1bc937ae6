using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>MultiheadAttention, in single ops.</summary>
internal static class AttentionReplacement
{
    internal static Tuple<Tensor, Tensor> Forward(MultiheadAttention module, Tensor query, Tensor key, Tensor value, Tensor? key_padding_mask, bool need_weights, Tensor? attn_mask)
    {
        var options = AttentionOptions.Of(module);
        var (output, weights) = Attention.Attend(module, options.Names, options.Settings(module.training), query, key, value, key_padding_mask, attn_mask, need_weights);
        return new Tuple<Tensor, Tensor>(output, weights is null ? AttentionOptions.NoWeights() : weights);
    }
}
