using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Graphs;

/// <summary>TorchSharp's dtypes in LiteRT.</summary>
internal static class ElementTypes
{
    /// <exception cref="LiteRtException">LiteRT computes nothing in this dtype.</exception>
    internal static LiteRtType Of(ScalarType dtype, string place) => dtype switch
    {
        ScalarType.Float32 => LiteRtType.Float32,
        ScalarType.Int64 => LiteRtType.Int64,
        ScalarType.Int32 => LiteRtType.Int32,
        ScalarType.Int16 => LiteRtType.Int16,
        ScalarType.Int8 => LiteRtType.Int8,
        ScalarType.Byte => LiteRtType.UInt8,
        ScalarType.Bool => LiteRtType.Bool,
        ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float64 => throw new LiteRtException($"{place} computes in {dtype}; LiteRT's ops compute in Float32. Convert the model with to(ScalarType.Float32) first."),
        _ => throw new LiteRtException($"{place} has a tensor of {dtype}, for which LiteRT has no ops."),
    };

    internal static ScalarType ToTorch(LiteRtType type) => type switch
    {
        LiteRtType.Float32 => ScalarType.Float32,
        LiteRtType.Int64 => ScalarType.Int64,
        LiteRtType.Int32 => ScalarType.Int32,
        LiteRtType.Int16 => ScalarType.Int16,
        LiteRtType.Int8 => ScalarType.Int8,
        LiteRtType.UInt8 => ScalarType.Byte,
        LiteRtType.Bool => ScalarType.Bool,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, null),
    };
}
