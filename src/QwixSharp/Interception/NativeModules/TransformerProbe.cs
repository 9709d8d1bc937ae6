using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>
/// Measures what TorchSharp does not keep of a Transformer module: heads, dropout and activation. All layers of one
/// module share them. The probe works on a copy of one layer with weights of its own choice, so the user's module is
/// neither run nor changed: libtorch clones a layer when it is stacked.
/// </summary>
[NotIntercepted]
internal static class TransformerProbe
{
    internal static (AttentionSettings Attention, bool IsGelu) Measure(nn.Module module)
    {
        lock (Probe.Gate)
        {
            using var scope = NewDisposeScope();
            using var nothing = no_grad();
            return Probe.KeepingRandomState(() => MeasureAny(module));
        }
    }

    private static (AttentionSettings Attention, bool IsGelu) MeasureAny(nn.Module module)
    {
        if (module is TransformerEncoderLayer encoderLayer) return MeasureLayer(encoderLayer);
        if (module is TransformerDecoderLayer decoderLayer) return MeasureLayer(decoderLayer);
        using var innerEncoder = NativeChildren.First<TransformerEncoderLayer>(module);
        if (innerEncoder is not null) return MeasureLayer(innerEncoder);
        using var innerDecoder = NativeChildren.First<TransformerDecoderLayer>(module);

        // A stack without layers has nothing that the settings could act on.
        return innerDecoder is null ? (new(1, false, 0), false) : MeasureLayer(innerDecoder);
    }

    private static (AttentionSettings Attention, bool IsGelu) MeasureLayer(TransformerEncoderLayer layer)
    {
        using var copy = nn.TransformerEncoder(layer, 1);
        return MeasureCopy(copy, x => copy.forward(x, null!, null!), (x, o) => TransformerReplacement.EncoderLayer(copy, o, o.Encoder[0], 0, x, null, null));
    }

    private static (AttentionSettings Attention, bool IsGelu) MeasureLayer(TransformerDecoderLayer layer)
    {
        using var copy = nn.TransformerDecoder(layer, 1);
        return MeasureCopy(copy, x => copy.forward(x, x, null!, null!, null!, null!), (x, o) => TransformerReplacement.DecoderLayer(copy, o, o.Decoder[0], 0, x, x, null, null, null, null));
    }

    private static (AttentionSettings Attention, bool IsGelu) MeasureCopy(nn.Module copy, Func<Tensor, Tensor> native, Func<Tensor, TransformerOptions, Tensor> managed)
    {
        var seed = 10;
        foreach (var (_, parameter) in copy.named_parameters())
        {
            var reach = parameter.dim() == 2 ? Math.Sqrt(3.0 / parameter.shape[1]) : 1;
            parameter.copy_(Probe.Values(seed++, parameter, parameter.shape) * reach);
        }

        copy.eval();
        using var attention = NativeChildren.First<MultiheadAttention>(copy)
            ?? throw new QwixException($"{copy.GetName()} holds no MultiheadAttention: use the TorchSharp version that QwixSharp was built with.");
        var names = new AttentionNames("");
        var settings = AttentionProbe.Structure(attention, names);
        settings = settings with { Dropout = AttentionProbe.Dropout(attention, names, settings.Heads) };
        var like = copy.parameters().First();
        var x = Probe.Values(1, like, 3, 2, ModuleParameters.Required(attention, names.OutWeight).shape[0]);
        var expected = native(x);
        var asRelu = Probe.MaxDifference(expected, managed(x, new("layers.0.", settings, isGelu: false)));
        var asGelu = Probe.MaxDifference(expected, managed(x, new("layers.0.", settings, isGelu: true)));
        return (settings, asGelu < asRelu);
    }
}
