using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Layouts;

/// <summary>The stored tensors of one quantized tensor: <c>name.qvalue</c>, <c>name.scale</c> and <c>name.zero_point</c>.</summary>
internal static class QwixEntries
{
    internal const string QValue = ".qvalue";
    internal const string Scale = ".scale";
    internal const string ZeroPoint = ".zero_point";

    /// <summary>In front of the names of statistics.</summary>
    internal const string QuantStats = "quant_stats/";

    /// <summary>
    /// How codes are stored: bytes where they are packed, else integers, or the small floats that they are; nf4, packed, and
    /// micro-scaled fp4 are bytes too.
    /// </summary>
    internal static CheckpointDtype CodeDtype(QType qtype) => qtype switch
    {
        _ when CodePacking.IsPacked(qtype) => CheckpointDtype.UInt8,
        { Kind: QTypeKind.Integer } => qtype.Bits > 8 ? CheckpointDtype.Int16 : CheckpointDtype.Int8,
        _ => qtype.FloatFormat == MiniFloat.E5M2 ? CheckpointDtype.Float8E5M2 : CheckpointDtype.Float8E4M3Fn,
    };

    /// <summary>The stored tensors of a tensor.</summary>
    internal static IReadOnlyList<TensorEntry> Of(string name, QType qtype, ReadOnlySpan<long> shape, ReadOnlySpan<long> scaleShape, ScalarType scaleDtype, bool hasZeroPoint)
    {
        var codes = new TensorEntry(name + QValue, CodeDtype(qtype), CodePacking.PackedShape(shape, qtype));
        var scale = new TensorEntry(name + Scale, CheckpointDtypes.Of(scaleDtype), scaleShape);
        return hasZeroPoint ? [codes, scale, new(name + ZeroPoint, CheckpointDtypes.Of(Codec.CodeDtype(qtype)), scaleShape)] : [codes, scale];
    }

    /// <summary>Writes the stored tensors of an array, the scales in a dtype that holds them.</summary>
    internal static void Write(SafetensorsWriter writer, string name, QArray array, ScalarType scaleDtype)
    {
        writer.Write(name + QValue, array.Codes);
        using (Tensor scale = array.LendScale(), stored = scale.to(scaleDtype))
            writer.Write(name + Scale, stored);
        if (array.ZeroPoint is { } zeroPoint)
            writer.Write(name + ZeroPoint, zeroPoint);
    }
}
