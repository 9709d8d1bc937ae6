using QwixSharp.Kernels.Passes;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>Packs codes that lie in the memory of the CPU as <see cref="CodePacking"/> does, in one pass where rows end at whole bytes.</summary>
internal static class CodeBytes
{
    /// <summary>Packs codes without gaps.</summary>
    /// <param name="codes">Codes of at least one axis, a byte each.</param>
    /// <param name="qtype">Their type.</param>
    /// <returns>The stored codes; <paramref name="codes"/> itself where the type is not packed.</returns>
    internal static unsafe Tensor Pack(Tensor codes, QType qtype)
    {
        // The codes of int1 are -1 and 1, of which bits are made.
        if (!CodePacking.IsPacked(qtype) || qtype.Bits == 1 || codes.shape[^1] * qtype.StorageBits % 8 != 0)
            return CodePacking.Pack(codes, qtype);
        var packed = empty(CodePacking.PackedShape(codes.shape, qtype), dtype: ScalarType.Byte);
        BitPacking.Pack((sbyte*)TensorMemory.Address(codes), codes.NumberOfElements, qtype.StorageBits, (byte*)TensorMemory.Address(packed));
        return packed;
    }
}
