using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Layouts;

/// <summary>
/// Codes packed into 32-bit words, the first in the lowest bits, and biased by half their range so that none is negative: the
/// common ground of compressed-tensors, GPTQ and AWQ.
/// </summary>
internal static class PackedWords
{
    /// <summary>The codes in a word.</summary>
    internal static int PerWord(int bits) => 32 / bits;

    /// <summary>The integer type of a number of bits, where words hold whole codes of it and a QArray can hold them.</summary>
    internal static QType? TypeOf(int bits) => bits switch { 2 => QType.Int2, 4 => QType.Int4, 8 => QType.Int8, _ => null };

    /// <summary>Codes as a QArray stores them, of words along the last axis.</summary>
    /// <param name="words">[rows, words], int32.</param>
    /// <param name="qtype">int2, int4 or int8.</param>
    /// <param name="columns">The codes of a row; the last word may have more.</param>
    /// <returns>A tensor that the caller owns.</returns>
    internal static Tensor ToCodes(Tensor words, QType qtype, long columns)
    {
        using var scope = NewDisposeScope();
        // Taking half the range off is flipping the sign bit of each code.
        var bytes = SameBits(words.bitwise_xor(tensor(SignBits(qtype.Bits))), ScalarType.Byte);
        long length = ((columns * qtype.Bits) + 7) / 8;
        var codes = bytes.shape[^1] == length ? bytes : bytes.narrow(-1, 0, length).contiguous();
        int spare = (int)((length * 8) - (columns * qtype.Bits));
        if (spare > 0)
            codes.narrow(-1, length - 1, 1).bitwise_and_(tensor((byte)(0xFF >> spare)));
        return (qtype.Bits == 8 ? SameBits(codes, ScalarType.Int8) : codes).MoveToOuterDisposeScope();
    }

    /// <summary>Undoes <see cref="ToCodes"/>; what is left of the last word is zero.</summary>
    internal static Tensor FromCodes(Tensor codes, QType qtype, long columns)
    {
        using var scope = NewDisposeScope();
        long words = (columns + PerWord(qtype.Bits) - 1) / PerWord(qtype.Bits);
        var bytes = SameBits(codes, ScalarType.Byte).bitwise_xor(tensor(unchecked((byte)SignBits(qtype.Bits))));
        int spare = (int)((bytes.shape[^1] * 8) - (columns * qtype.Bits));
        if (spare > 0)
            bytes.narrow(-1, bytes.shape[^1] - 1, 1).bitwise_and_(tensor((byte)(0xFF >> spare)));
        if (bytes.shape[^1] < words * 4)
            bytes = nn.functional.pad(bytes, [0, (words * 4) - bytes.shape[^1]]);
        return SameBits(bytes, ScalarType.Int32).MoveToOuterDisposeScope();
    }

    /// <summary>The codes of words along the last axis, without their bias taken off, a byte each.</summary>
    /// <param name="words">[rows, words], int32.</param>
    /// <param name="bits">2, 4 or 8.</param>
    /// <param name="columns">The codes of a row; the last word may have more.</param>
    /// <param name="order">The field of a word in which each of its codes lies; null where that is in order.</param>
    /// <returns>A uint8 tensor [rows, columns] that the caller owns.</returns>
    internal static Tensor Unpack(Tensor words, int bits, long columns, ReadOnlySpan<long> order = default)
    {
        using var scope = NewDisposeScope();
        var bytes = SameBits(words, ScalarType.Byte);
        var shifts = tensor([.. Enumerable.Range(0, 8 / bits).Select(i => (byte)(i * bits))], ScalarType.Byte);
        var fields = bytes.unsqueeze(-1).bitwise_right_shift(shifts).bitwise_and(tensor((byte)((1 << bits) - 1)));
        if (!order.IsEmpty)
            fields = fields.reshape(words.shape[0], words.shape[1], PerWord(bits)).index_select(-1, tensor(order.ToArray(), ScalarType.Int64));
        return fields.reshape(words.shape[0], words.shape[1] * PerWord(bits)).narrow(-1, 0, columns).contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>The same memory as elements of another integer dtype; the last axis grows or shrinks with their size.</summary>
    private static unsafe Tensor SameBits(Tensor values, ScalarType dtype)
    {
        var source = values.contiguous();
        var result = empty([.. values.shape[..^1], values.shape[^1] * values.ElementSize / (dtype == ScalarType.Int32 ? 4 : 1)], dtype: dtype);
        long length = source.numel() * source.ElementSize;
        Buffer.MemoryCopy((void*)TensorMemory.Address(source), (void*)TensorMemory.Address(result), length, length);
        GC.KeepAlive(source);
        return result;
    }

    /// <summary>The sign bit of each code in a word.</summary>
    private static int SignBits(int bits) => bits switch
    {
        2 => unchecked((int)0xAAAAAAAA),
        4 => unchecked((int)0x88888888),
        _ => unchecked((int)0x80808080),
    };
}
