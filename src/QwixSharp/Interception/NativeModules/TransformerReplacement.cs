using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>
/// Transformer, its encoder and decoder and their layers, in single ops. libtorch's C++ layers normalize after each
/// block, take the sequence dimension first, and use one dropout probability throughout.
/// </summary>
internal static class TransformerReplacement
{
    private const double NormEpsilon = 1e-5;

    internal static Tensor Forward(TransformerEncoderLayer module, Tensor src) => Forward(module, src, null, null);

    internal static Tensor Forward(TransformerEncoderLayer module, Tensor src, Tensor? src_mask) => Forward(module, src, src_mask, null);

    internal static Tensor Forward(TransformerEncoderLayer module, Tensor src, Tensor? src_mask, Tensor? src_key_padding_mask)
    {
        var options = TransformerOptions.Of(module);
        return EncoderLayer(module, options, options.Encoder[0], Dropout(module, options), src, src_mask, src_key_padding_mask);
    }

    internal static Tensor Forward(TransformerEncoder module, Tensor src, Tensor? src_mask, Tensor? src_key_padding_mask) =>
        Encode(module, TransformerOptions.Of(module), "norm", src, src_mask, src_key_padding_mask);

    internal static Tensor Forward(TransformerDecoderLayer module, Tensor tgt, Tensor memory, Tensor? tgt_mask, Tensor? memory_mask, Tensor? tgt_key_padding_mask, Tensor? memory_key_padding_mask)
    {
        var options = TransformerOptions.Of(module);
        return DecoderLayer(module, options, options.Decoder[0], Dropout(module, options), tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask);
    }

    internal static Tensor Forward(TransformerDecoder module, Tensor tgt, Tensor memory, Tensor? tgt_mask, Tensor? memory_mask, Tensor? tgt_key_padding_mask, Tensor? memory_key_padding_mask) =>
        Decode(module, TransformerOptions.Of(module), "norm", tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask);

    internal static Tensor Forward(Transformer module, Tensor src, Tensor tgt) =>
        Forward(module, src, tgt, null, null, null, null, null, null);

    internal static Tensor Forward(Transformer module, Tensor src, Tensor tgt, Tensor? src_mask, Tensor? tgt_mask, Tensor? memory_mask, Tensor? src_key_padding_mask, Tensor? tgt_key_padding_mask, Tensor? memory_key_padding_mask)
    {
        var options = TransformerOptions.Of(module);
        using var memory = Encode(module, options, "encoder.norm", src, src_mask, src_key_padding_mask);
        return Decode(module, options, "decoder.norm", tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask);
    }

    /// <summary>Runs one encoder layer.</summary>
    internal static Tensor EncoderLayer(nn.Module module, TransformerOptions options, TransformerLayerNames names, double dropout, Tensor src, Tensor? mask, Tensor? paddingMask)
    {
        using var scope = NewDisposeScope();
        var settings = options.Attention with { Dropout = dropout };
        var attended = Attention.Attend(module, names.SelfAttention, settings, src, src, src, paddingMask, mask, false).Output;
        var x = Norm(module, names.Norm1, src + Drop(attended, dropout));
        return Norm(module, names.Norm2, x + Drop(FeedForward(module, options, names, dropout, x), dropout)).MoveToOuterDisposeScope();
    }

    /// <summary>Runs one decoder layer.</summary>
    internal static Tensor DecoderLayer(nn.Module module, TransformerOptions options, TransformerLayerNames names, double dropout, Tensor tgt, Tensor memory, Tensor? mask, Tensor? memoryMask, Tensor? paddingMask, Tensor? memoryPaddingMask)
    {
        using var scope = NewDisposeScope();
        var settings = options.Attention with { Dropout = dropout };
        var attended = Attention.Attend(module, names.SelfAttention, settings, tgt, tgt, tgt, paddingMask, mask, false).Output;
        var x = Norm(module, names.Norm1, tgt + Drop(attended, dropout));
        attended = Attention.Attend(module, names.CrossAttention, settings, x, memory, memory, memoryPaddingMask, memoryMask, false).Output;
        x = Norm(module, names.Norm2, x + Drop(attended, dropout));
        return Norm(module, names.Norm3, x + Drop(FeedForward(module, options, names, dropout, x), dropout)).MoveToOuterDisposeScope();
    }

    private static Tensor Encode(nn.Module module, TransformerOptions options, string norm, Tensor src, Tensor? mask, Tensor? paddingMask)
    {
        using var scope = NewDisposeScope();
        var dropout = Dropout(module, options);
        var x = src.alias();
        for (var i = 0; i < options.Encoder.Length; i++)
        {
            using var before = x;
            x = EncoderLayer(module, options, options.Encoder[i], dropout, before, mask, paddingMask);
        }

        return FinalNorm(module, norm, x).MoveToOuterDisposeScope();
    }

    private static Tensor Decode(nn.Module module, TransformerOptions options, string norm, Tensor tgt, Tensor memory, Tensor? mask, Tensor? memoryMask, Tensor? paddingMask, Tensor? memoryPaddingMask)
    {
        using var scope = NewDisposeScope();
        var dropout = Dropout(module, options);
        var x = tgt.alias();
        for (var i = 0; i < options.Decoder.Length; i++)
        {
            using var before = x;
            x = DecoderLayer(module, options, options.Decoder[i], dropout, before, memory, mask, memoryMask, paddingMask, memoryPaddingMask);
        }

        return FinalNorm(module, norm, x).MoveToOuterDisposeScope();
    }

    private static double Dropout(nn.Module module, TransformerOptions options) => module.training ? options.Attention.Dropout : 0;

    private static Tensor FeedForward(nn.Module module, TransformerOptions options, TransformerLayerNames names, double dropout, Tensor x)
    {
        var hidden = Linear(module, names.Linear1, x);
        var activated = options.IsGelu ? nn.functional.gelu(hidden) : nn.functional.relu(hidden);
        return Linear(module, names.Linear2, Drop(activated, dropout));
    }

    private static Tensor Drop(Tensor x, double dropout) => dropout > 0 ? nn.functional.dropout(x, dropout, true) : x;

    private static Tensor Linear(nn.Module module, string name, Tensor x) =>
        nn.functional.linear(x, ModuleParameters.Required(module, name + ".weight"), ModuleParameters.Optional(module, name + ".bias"));

    private static Tensor Norm(nn.Module module, string name, Tensor x)
    {
        var weight = ModuleParameters.Required(module, name + ".weight");
        return nn.functional.layer_norm(x, weight.shape, weight, ModuleParameters.Optional(module, name + ".bias"), NormEpsilon);
    }

    /// <summary>The norm after the last layer, which Transformer has and the stacks alone have not.</summary>
    private static Tensor FinalNorm(nn.Module module, string name, Tensor x) =>
        ModuleParameters.Optional(module, name + ".weight") is null ? x : Norm(module, name, x);
}
