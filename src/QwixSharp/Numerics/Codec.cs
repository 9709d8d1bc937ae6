using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Numerics;

/// <summary>
/// Turns scaled numbers into codes and codes into numbers, one tensor at a time. Codes are int8 or int16 for integer
/// types, uint8 bit patterns for floats, and uint8 indices for nf4; packing is another matter (<see cref="CodePacking"/>).
/// </summary>
internal static class Codec
{
    /// <summary>Beyond this magnitude, distances to several nf4 levels can round to the same float.</summary>
    private const float NormalFloatSafeMagnitude = 1024;

    /// <summary>The dtype of the codes of a type before packing.</summary>
    internal static ScalarType CodeDtype(QType qtype) => qtype.Kind switch
    {
        QTypeKind.Integer => qtype.Bits > 8 ? ScalarType.Int16 : ScalarType.Int8,
        _ => ScalarType.Byte,
    };

    /// <summary>Whether an array of this dtype can be quantized.</summary>
    internal static bool IsQuantizable(ScalarType dtype) =>
        dtype is ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float32 or ScalarType.Float64;

    /// <summary>Rounds numbers, already divided by their scale, to codes: ties to even, saturating.</summary>
    /// <param name="scaled">Floating-point numbers of any shape.</param>
    /// <param name="qtype">The type of the codes.</param>
    /// <param name="noise">Noise to add before rounding to an integer (stochastic rounding), broadcastable to <paramref name="scaled"/>.</param>
    /// <returns>Codes of the same shape, of <see cref="CodeDtype"/>.</returns>
    internal static Tensor Encode(Tensor scaled, QType qtype, Tensor? noise = null)
    {
        using var scope = NewDisposeScope();
        var codes = qtype.Kind switch
        {
            // libtorch's search warns on the console where it has to copy.
            QTypeKind.NormalFloat => EncodeNormalFloat(scaled.to(ScalarType.Float32).contiguous()),
            QTypeKind.Float => EncodeFloat(scaled.to(ScalarType.Float32).contiguous(), qtype.FloatFormat!),
            _ when qtype == QType.Int1 => (scaled.ge(0).to(ScalarType.Int8) * 2) - 1,
            _ => EncodeInteger(scaled, qtype, noise),
        };
        return codes.MoveToOuterDisposeScope();
    }

    /// <summary>The numbers that codes stand for.</summary>
    /// <param name="codes">Codes of <see cref="CodeDtype"/>.</param>
    /// <param name="qtype">Their type.</param>
    /// <param name="dtype">The floating-point dtype of the result.</param>
    /// <returns>A tensor of the same shape.</returns>
    internal static Tensor Decode(Tensor codes, QType qtype, ScalarType dtype)
    {
        if (qtype.Kind == QTypeKind.Integer)
            return codes.to(dtype, copy: true);
        using var scope = NewDisposeScope();
        var table = tensor(DecodeTable(qtype), ScalarType.Float32, codes.device);
        var values = table.index_select(0, codes.reshape(-1).to(ScalarType.Int32)).reshape(codes.shape);
        return values.to(dtype).MoveToOuterDisposeScope();
    }

    /// <summary>The value of each code of a type whose codes are not integers, by bit pattern.</summary>
    internal static float[] DecodeTable(QType qtype) =>
        qtype.Kind == QTypeKind.NormalFloat ? NormalFloat4.Levels : qtype.FloatFormat!.DecodeTable;

    private static Tensor EncodeInteger(Tensor scaled, QType qtype, Tensor? noise)
    {
        // Noise is added in float32: bfloat16 would round it away and bias the result.
        var shifted = noise is null ? scaled : scaled.to(ScalarType.Float32) + noise;
        // A bfloat16 cannot hold 32767, nor a float16 all codes: the bounds are applied in float32.
        return shifted.round().to(shifted.ElementSize < 4 ? ScalarType.Float32 : shifted.dtype).clamp(LastingNumber.Of(qtype.Min), LastingNumber.Of(qtype.Max)).to(CodeDtype(qtype));
    }

    private static Tensor EncodeFloat(Tensor scaled, MiniFloat format)
    {
        var bounds = tensor(format.RoundingBounds, ScalarType.Float32, scaled.device);
        var magnitude = scaled.abs().bucketize(bounds, outInt32: true).to(ScalarType.Byte);
        var sign = scaled.signbit().to(ScalarType.Byte) * (1 << (format.Bits - 1));
        return magnitude + sign.to(ScalarType.Byte);
    }

    private static Tensor EncodeNormalFloat(Tensor scaled)
    {
        var levels = tensor(NormalFloat4.Levels, ScalarType.Float32, scaled.device);
        var above = scaled.bucketize(levels, outInt32: true).clamp_(LastingNumber.Of(1), LastingNumber.Of(NormalFloat4.Levels.Length - 1));
        var below = above - 1;
        var toAbove = Distance(above);
        var toBelow = Distance(below);
        var codes = where(toBelow.le(toAbove), below, above);
        if (scaled.device_type != DeviceType.META && scaled.numel() > 0 && scaled.abs().max().item<float>() is var largest && !(largest <= NormalFloatSafeMagnitude))
            codes = where(scaled.abs().gt(NormalFloatSafeMagnitude), NearestOfAll(), codes);
        return codes.to(ScalarType.Byte);

        Tensor Distance(Tensor index) => (levels.index_select(0, index.reshape(-1)).reshape(index.shape) - scaled).abs();
        Tensor NearestOfAll() => (levels - scaled.unsqueeze(-1)).abs().argmin(-1).to(ScalarType.Int32);
    }
}
