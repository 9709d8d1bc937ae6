using QwixSharp.Providers;
using QwixSharp.Providers.Odml.Device;

namespace QwixSharp.LiteRT.Graphs;

/// <summary>The integers that a fake-quantized tensor has on the device.</summary>
/// <param name="Type">Int4, int8 or int16.</param>
/// <param name="Scales">One scale, or one an output channel for a weight; none where the range is found at run time.</param>
/// <param name="ZeroPoint">The code of zero.</param>
/// <param name="Place">The tensor's place in the model, for messages.</param>
internal sealed record FakeQuant(LiteRtType Type, double[] Scales, long ZeroPoint, string Place)
{
    /// <summary>Whether the range is found at run time: dynamic-range quantization.</summary>
    internal bool IsDynamic => Scales.Length == 0;

    internal double Scale => Scales[0];

    internal LiteRtQuantization Parameters => new([.. Scales.Select(s => (float)s)], [.. Scales.Select(_ => ZeroPoint)]);

    /// <summary>LiteRT's int16 has no zero points: a range that has one is covered by a symmetric scale.</summary>
    internal static FakeQuant Of(FakeQuantAnnotation annotation)
    {
        var type = annotation.QType.ToString() switch { "int4" => LiteRtType.Int4, "int8" => LiteRtType.Int8, _ => LiteRtType.Int16 };
        double[] scales = [.. annotation.Scale.Select(s => (double)s)];
        long zeroPoint = annotation.ZeroPoint is { Count: > 0 } points ? points[0] : 0;
        if (type == LiteRtType.Int4 && annotation.WeightName is null && scales.Length > 0)
            throw new LiteRtException($"\"{annotation.Place}\" is an int4 activation, and LiteRT computes activations in int8 or int16. Set ActQType to \"int8\" or \"int16\".");
        if (type == LiteRtType.Int16 && zeroPoint != 0)
            (scales, zeroPoint) = ([DeviceCodes.SymmetricScale16(scales[0], zeroPoint)], 0);
        return new FakeQuant(type, scales, zeroPoint, annotation.WeightName ?? annotation.Place);
    }

    internal bool Same(FakeQuant other) => Type == other.Type && ZeroPoint == other.ZeroPoint && Scales.SequenceEqual(other.Scales);
}
