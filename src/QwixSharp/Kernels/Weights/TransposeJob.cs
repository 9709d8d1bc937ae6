using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Weights;

/// <summary>
/// Exchanges rows and columns of a packed weight. Sixteen rows by sixteen k are 256 bytes on both sides, so a panel of the
/// result gathers one such block from every panel of the source.
/// </summary>
/// <param name="target">[K, N] of byte codes.</param>
/// <param name="source">[N, K] of integer codes.</param>
internal sealed unsafe class TransposeJob(PackedWeight target, PackedWeight source) : KernelJob
{
    private const int Columns = PackedWeight.PanelColumns;
    private const int GroupBytes = 64;
    private const int BlockBytes = Columns * Columns;

    private int _next;

    /// <inheritdoc/>
    public override void Run(int worker)
    {
        var block = stackalloc byte[BlockBytes];
        while (true)
        {
            var panel = Interlocked.Increment(ref _next) - 1;
            if (panel >= target.Panels)
                return;
            var end = target.Codes(panel) + target.PanelBytes;
            var place = target.Codes(panel);
            for (var from = 0; from < source.Panels; from++, place += BlockBytes)
            {
                var bytes = (int)Math.Min(BlockBytes, end - place);
                if (bytes == BlockBytes && !source.IsHalfByte && IsWhole(panel))
                {
                    Block(source.Codes(from) + (long)panel * BlockBytes, place);
                    continue;
                }
                if (IsWhole(panel))
                    Unpack(source.Codes(from) + (long)panel * BlockBytes / (source.IsHalfByte ? 2 : 1), block);
                else
                    Gather(from, panel * Columns, block);
                Block(block, block);
                Unsafe.CopyBlockUnaligned(place, block, (uint)bytes);
            }
            if (place < end)
                Unsafe.InitBlockUnaligned(place, 0, checked((uint)(end - place)));
        }
    }

    /// <summary>Whether the sixteen k of a panel lie beside each other in the source.</summary>
    private bool IsWhole(int panel) => source.IsDepthDense && (long)(panel + 1) * Columns <= source.Depth;

    /// <summary>A block of the source with a byte a code.</summary>
    private void Unpack(byte* from, byte* block)
    {
        if (!source.IsHalfByte)
        {
            Unsafe.CopyBlockUnaligned(block, from, BlockBytes);
            return;
        }
        var mask = Vector128.Create((byte)15);
        var offset = Vector128.Create((byte)8);
        for (var half = 0; half < 2; half++)
            for (var i = 0; i < GroupBytes; i += 16)
            {
                var both = Vector128.Load(from + half * GroupBytes + i);
                ((both & mask) - offset).Store(block + 2 * half * GroupBytes + i);
                (((both.AsUInt16() >>> 4).AsByte() & mask) - offset).Store(block + (2 * half + 1) * GroupBytes + i);
            }
    }

    /// <summary>A block of the source as [4 groups of k][16 rows][4 k] bytes, 0 where there is nothing.</summary>
    private void Gather(int panel, int firstK, byte* block)
    {
        for (var k = 0; k < Columns; k++)
            for (var column = 0; column < Columns; column++)
            {
                var row = panel * Columns + column;
                block[k / 4 * GroupBytes + column * 4 + k % 4] = row < source.Rows && firstK + k < source.Depth ? (byte)source.Code(row, firstK + k) : (byte)0;
            }
    }

    /// <summary>[4 groups of k][4 groups of rows][4 rows][4 k] becomes [4 groups of rows][4 groups of k][4 k][4 rows].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Block(byte* from, byte* to)
    {
        var exchange = Vector128.Create((byte)0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        Group(from, exchange, out var a0, out var a1, out var a2, out var a3);
        Group(from + GroupBytes, exchange, out var b0, out var b1, out var b2, out var b3);
        Group(from + 2 * GroupBytes, exchange, out var c0, out var c1, out var c2, out var c3);
        Group(from + 3 * GroupBytes, exchange, out var d0, out var d1, out var d2, out var d3);
        Store(a0, b0, c0, d0, to);
        Store(a1, b1, c1, d1, to + GroupBytes);
        Store(a2, b2, c2, d2, to + 2 * GroupBytes);
        Store(a3, b3, c3, d3, to + 3 * GroupBytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Group(byte* from, Vector128<byte> exchange, out Vector128<byte> first, out Vector128<byte> second, out Vector128<byte> third, out Vector128<byte> fourth)
    {
        first = Vector128.Shuffle(Vector128.Load(from), exchange);
        second = Vector128.Shuffle(Vector128.Load(from + 16), exchange);
        third = Vector128.Shuffle(Vector128.Load(from + 32), exchange);
        fourth = Vector128.Shuffle(Vector128.Load(from + 48), exchange);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector128<byte> first, Vector128<byte> second, Vector128<byte> third, Vector128<byte> fourth, byte* to)
    {
        first.Store(to);
        second.Store(to + 16);
        third.Store(to + 32);
        fourth.Store(to + 48);
    }
}
