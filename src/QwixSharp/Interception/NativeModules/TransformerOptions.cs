using System.Runtime.CompilerServices;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>The parameter names of an encoder or decoder layer.</summary>
[NotIntercepted]
internal sealed class TransformerLayerNames(string prefix)
{
    internal AttentionNames SelfAttention { get; } = new(prefix + "self_attn.");

    internal AttentionNames CrossAttention { get; } = new(prefix + "multihead_attn.");

    internal string Linear1 { get; } = prefix + "linear1";

    internal string Linear2 { get; } = prefix + "linear2";

    internal string Norm1 { get; } = prefix + "norm1";

    internal string Norm2 { get; } = prefix + "norm2";

    internal string Norm3 { get; } = prefix + "norm3";
}

/// <summary>What a Transformer module was made with: its layers, and what all of them share.</summary>
[NotIntercepted]
internal sealed class TransformerOptions
{
    private static readonly ConditionalWeakTable<nn.Module, TransformerOptions> Known = [];

    private TransformerOptions(nn.Module module)
    {
        var isLayer = module is TransformerEncoderLayer or TransformerDecoderLayer;
        var inner = module is Transformer;
        Encoder = isLayer ? [new("")] : Layers(module, inner ? "encoder." : "");
        Decoder = isLayer || !inner ? Encoder : Layers(module, "decoder.");
        (Attention, IsGelu) = TransformerProbe.Measure(module);
    }

    /// <summary>For tests of the probe itself: the options of one layer.</summary>
    internal TransformerOptions(string prefix, AttentionSettings attention, bool isGelu)
    {
        Encoder = Decoder = [new(prefix)];
        (Attention, IsGelu) = (attention, isGelu);
    }

    internal TransformerLayerNames[] Encoder { get; }

    internal TransformerLayerNames[] Decoder { get; }

    /// <summary>The attention of every layer; its dropout is that of the whole layer in training.</summary>
    internal AttentionSettings Attention { get; }

    internal bool IsGelu { get; }

    internal static TransformerOptions Of(nn.Module module) => Known.GetValue(module, static m => new(m));

    private static TransformerLayerNames[] Layers(nn.Module module, string prefix)
    {
        var names = new List<TransformerLayerNames>();
        while (module.has_parameter($"{prefix}layers.{names.Count}.norm1.weight")) names.Add(new($"{prefix}layers.{names.Count}."));
        return [.. names];
    }
}
