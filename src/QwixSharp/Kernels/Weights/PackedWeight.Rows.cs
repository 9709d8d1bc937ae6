using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Weights;

/// <summary>Single rows of a packed weight: the look-up in an embedding table that is an output layer too.</summary>
internal sealed unsafe partial class PackedWeight
{
    /// <summary>The numbers that one row stands for.</summary>
    /// <param name="row">The row n.</param>
    /// <param name="y">[depth], the result.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void DequantizeRow(int row, float* y)
    {
        var table = Table;
        for (var tile = 0; tile < Tiles; tile++)
        {
            var scale = TileScale(row, tile);
            var from = (long)tile * PaddedTile;
            var count = Math.Min(TileSize, Depth - tile * TileSize);
            var i = 0;
            if (Format == CodeFormat.Int8 && Sse41.IsSupported)
                for (; i + 4 <= count; i += 4, y += 4)
                    (Sse2.ConvertToVector128Single(Sse41.ConvertToVector128Int32((sbyte*)Group(row, from + i))) * scale).Store(y);
            for (; i < count; i++)
            {
                var stored = StoredCode(row, from + i);
                *y++ = (Format == CodeFormat.Int8 ? (sbyte)stored : table[stored]) * scale;
            }
        }
    }

    /// <summary>The four codes of a row from k on, a multiple of 4, where codes are bytes.</summary>
    private byte* Group(int row, long paddedK) => Codes(row / PanelColumns) + paddedK / 4 * 64 + row % PanelColumns * 4;
}
