using static TorchSharp.torch;

namespace QwixSharp.Numerics;

/// <summary>
/// Packs codes of four bits and fewer along the last axis: the first code in the lowest bits of a byte, each row padded
/// with zeros to whole bytes.
/// </summary>
internal static class CodePacking
{
    /// <summary>The shape of the stored codes of an array of a given shape.</summary>
    internal static long[] PackedShape(ReadOnlySpan<long> shape, QType qtype)
    {
        long[] packed = [.. shape];
        if (IsPacked(qtype) && packed.Length > 0)
            packed[^1] = ((packed[^1] * qtype.StorageBits) + 7) / 8;
        return packed;
    }

    /// <summary>Whether codes of a type are stored packed.</summary>
    internal static bool IsPacked(QType qtype) => qtype.StorageBits < 8;

    /// <summary>Packs codes of <see cref="Codec.CodeDtype"/>; a scalar takes one byte. Types that are not packed pass as they are.</summary>
    /// <returns>A uint8 tensor of <see cref="PackedShape"/>, or <paramref name="codes"/> itself.</returns>
    internal static Tensor Pack(Tensor codes, QType qtype)
    {
        if (!IsPacked(qtype))
            return codes;
        using var scope = NewDisposeScope();
        int bits = qtype.StorageBits, perByte = 8 / bits;
        var fields = qtype == QType.Int1 ? codes.gt(0).to(ScalarType.Byte) : codes.to(ScalarType.Byte).bitwise_and(tensor((byte)((1 << bits) - 1), device: codes.device));
        if (fields.dim() == 0)
            return fields.MoveToOuterDisposeScope();
        long length = fields.shape[^1], padding = ((length + perByte - 1) / perByte * perByte) - length;
        if (padding > 0)
            fields = nn.functional.pad(fields, [0, padding]);
        fields = fields.reshape([.. fields.shape[..^1], fields.shape[^1] / perByte, perByte]);
        var packed = fields.select(-1, 0).clone();
        for (int i = 1; i < perByte; i++)
            packed.bitwise_or_(fields.select(-1, i).bitwise_left_shift(tensor((byte)(i * bits), device: fields.device)));
        return packed.MoveToOuterDisposeScope();
    }

    /// <summary>Undoes <see cref="Pack"/>.</summary>
    /// <param name="packed">The stored codes.</param>
    /// <param name="qtype">Their type.</param>
    /// <param name="length">The length of the last axis before packing; ignored for a scalar.</param>
    /// <returns>Codes of <see cref="Codec.CodeDtype"/>; an alias of <paramref name="packed"/> where the type is not packed.</returns>
    internal static Tensor Unpack(Tensor packed, QType qtype, long length)
    {
        if (!IsPacked(qtype))
            return packed.alias();
        using var scope = NewDisposeScope();
        int bits = qtype.StorageBits, perByte = 8 / bits;
        var codes = packed;
        if (packed.dim() > 0)
        {
            var shifts = tensor([.. Enumerable.Range(0, perByte).Select(i => (byte)(i * bits))], ScalarType.Byte, packed.device);
            codes = packed.unsqueeze(-1).bitwise_right_shift(shifts).bitwise_and((1 << bits) - 1)
                .reshape([.. packed.shape[..^1], packed.shape[^1] * perByte]).narrow(-1, 0, length);
        }

        if (qtype == QType.Int1)
            codes = (codes.to(ScalarType.Int8) * 2) - 1;
        else if (qtype.Kind == QTypeKind.Integer)
            codes = codes.to(ScalarType.Int8).bitwise_xor(1 << (bits - 1)) - (1 << (bits - 1));
        return codes.to(Codec.CodeDtype(qtype)).contiguous().MoveToOuterDisposeScope();
    }
}
