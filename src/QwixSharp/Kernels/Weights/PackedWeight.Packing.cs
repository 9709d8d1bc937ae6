using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Passes;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Weights;

/// <summary>The ways to make a packed weight.</summary>
internal sealed unsafe partial class PackedWeight
{
    private static readonly float[] OffsetInt4 = [.. Enumerable.Range(-8, 16).Select(i => (float)i)];

    /// <summary>Packs integer codes, one signed byte each.</summary>
    /// <param name="codes">[rows, depth], row-major; between −2^(bits−1) and 2^(bits−1) − 1.</param>
    /// <param name="scales">[rows, ⌈depth / tileSize⌉], row-major.</param>
    /// <param name="rows">N.</param>
    /// <param name="depth">K.</param>
    /// <param name="tileSize">How many values of K share a scale; <paramref name="depth"/> or more for one scale a row.</param>
    /// <param name="bits">1 … 8; up to 4 bits are stored as half bytes.</param>
    /// <param name="threads">How many threads pack.</param>
    /// <exception cref="ArgumentException">A shape or tile size that cannot be packed.</exception>
    public static PackedWeight FromIntegers(sbyte* codes, float* scales, long rows, long depth, long tileSize, int bits = 8, int threads = 1)
    {
        if (bits is < 1 or > 8)
            throw new ArgumentOutOfRangeException(nameof(bits), bits, "Integer codes have 1 to 8 bits.");
        return bits <= 4
            ? Pack(CodeFormat.Int4, (byte*)codes, Source.SignedByte, scales, rows, depth, tileSize, OffsetInt4, threads)
            : Pack(CodeFormat.Int8, (byte*)codes, Source.Byte, scales, rows, depth, tileSize, null, threads);
    }

    /// <summary>Packs int4 codes that lie two to a byte, in two's complement, the low half first along K.</summary>
    /// <param name="nibbles">[rows, depth / 2], row-major; depth must be even.</param>
    /// <param name="scales">[rows, ⌈depth / tileSize⌉], row-major.</param>
    /// <param name="rows">N.</param>
    /// <param name="depth">K.</param>
    /// <param name="tileSize">How many values of K share a scale.</param>
    /// <param name="threads">How many threads pack.</param>
    /// <exception cref="ArgumentException">A shape or tile size that cannot be packed.</exception>
    public static PackedWeight FromInt4Pairs(byte* nibbles, float* scales, long rows, long depth, long tileSize, int threads = 1) =>
        Pack(CodeFormat.Int4, nibbles, Source.SignedHalf, scales, rows, depth, tileSize, OffsetInt4, threads);

    /// <summary>Packs indices into a table of 16 numbers (nf4, e2m1).</summary>
    /// <param name="codes">Indices 0 … 15: [rows, depth] bytes, or [rows, depth / 2] if <paramref name="paired"/>.</param>
    /// <param name="paired">Whether two indices share a byte, the low half first along K.</param>
    /// <param name="table">The 16 numbers.</param>
    /// <param name="scales">[rows, ⌈depth / tileSize⌉], row-major.</param>
    /// <param name="rows">N.</param>
    /// <param name="depth">K.</param>
    /// <param name="tileSize">How many values of K share a scale.</param>
    /// <param name="threads">How many threads pack.</param>
    /// <exception cref="ArgumentException">A table of another length, or a shape or tile size that cannot be packed.</exception>
    public static PackedWeight FromCodebook(byte* codes, bool paired, ReadOnlySpan<float> table, float* scales, long rows, long depth, long tileSize, int threads = 1)
    {
        if (table.Length != 16)
            throw new ArgumentException($"A codebook of half bytes has 16 numbers, not {table.Length}.", nameof(table));
        return Pack(CodeFormat.Codebook4, codes, paired ? Source.Half : Source.Byte, scales, rows, depth, tileSize, table.ToArray(), threads);
    }

    /// <summary>Packs byte codes that stand for the numbers of a table of 256 (fp8).</summary>
    /// <param name="codes">[rows, depth], row-major.</param>
    /// <param name="table">The 256 numbers.</param>
    /// <param name="scales">[rows, ⌈depth / tileSize⌉], row-major.</param>
    /// <param name="rows">N.</param>
    /// <param name="depth">K.</param>
    /// <param name="tileSize">How many values of K share a scale.</param>
    /// <param name="threads">How many threads pack.</param>
    /// <exception cref="ArgumentException">A table of another length, or a shape or tile size that cannot be packed.</exception>
    public static PackedWeight FromTable(byte* codes, ReadOnlySpan<float> table, float* scales, long rows, long depth, long tileSize, int threads = 1)
    {
        if (table.Length != 256)
            throw new ArgumentException($"A table for byte codes has 256 numbers, not {table.Length}.", nameof(table));
        var packed = Pack(CodeFormat.Table8, codes, Source.Byte, scales, rows, depth, tileSize, table.ToArray(), threads);
        packed.Fp8Shift = Fp8Layout.Find(codes, rows * depth, table);
        return packed;
    }

    /// <summary>Gives the codes back as they were packed, so that nobody need keep them beside the packed weight.</summary>
    /// <param name="codes">[rows, depth] bytes, row-major, the result: signed integers, or indices into the table.</param>
    /// <param name="threads">How many threads take part.</param>
    public void CopyCodes(byte* codes, int threads = 1) => RowsJob.Run(Rows, Depth, threads, row =>
    {
        var target = codes + row * Depth;
        for (var tile = 0; tile < Tiles; tile++)
        {
            var start = (long)tile * TileSize;
            var count = Math.Min(TileSize, Depth - start);
            for (var i = 0L; i < count; i++)
            {
                var stored = StoredCode((int)row, (long)tile * PaddedTile + i);
                target[start + i] = (byte)(Format == CodeFormat.Int4 ? stored - 8 : stored);
            }
        }
    });

    /// <summary>Gives the scales back.</summary>
    /// <param name="scales">[rows, tiles], row-major, the result; [rows] when <see cref="IsSplitChannel"/>.</param>
    public void CopyScales(float* scales)
    {
        var tiles = IsSplitChannel ? 1 : Tiles;
        for (var row = 0; row < Rows; row++)
            for (var tile = 0; tile < tiles; tile++)
                scales[(long)row * tiles + tile] = TileScale(row, tile);
    }

    private static PackedWeight Pack(CodeFormat format, byte* codes, Source source, float* scales, long rows, long depth, long tileSize, float[]? table, int threads)
    {
        if (source is Source.Half or Source.SignedHalf && (depth & 1) != 0)
            throw new ArgumentException($"Codes that lie two to a byte need an even depth, not {depth}.", nameof(depth));
        var tiles = (depth + tileSize - 1) / Math.Max(tileSize, 1);
        var packed = New(format, rows, depth, tileSize, table, tiles > 1 ? NarrowScales.FormatOf(scales, rows * tiles) : FloatFormat.Float32);
        KernelPool.Shared.Run(new PackingJob(packed, codes, source, scales), threads);
        return packed;
    }

    private static PackedWeight New(CodeFormat format, long rows, long depth, long tileSize, float[]? table, FloatFormat scaleFormat = FloatFormat.Float32, MemoryPool? pool = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(tileSize);
        var tile = Math.Min(tileSize, Math.Max(depth, 1));
        var isSplit = tile > LongestTile;
        if (isSplit && tile < depth)
            throw new ArgumentException($"A tile of {tile} is too long: use tiles up to {LongestTile} or one scale for the whole channel.", nameof(tileSize));
        return new PackedWeight(format, rows, depth, (int)Math.Min(tile, LongestTile), table, scaleFormat, pool) { IsSplitChannel = isSplit };
    }

    private enum Source
    {
        Byte,
        SignedByte,
        Half,
        SignedHalf,
    }

    private sealed class PackingJob(PackedWeight target, byte* codes, Source source, float* scales) : KernelJob
    {
        private int _next;

        public override void Run(int worker)
        {
            using var scratch = ReadsInPlace ? null : new AlignedMemory(PanelColumns * target.PaddedDepth);
            using var padding = new AlignedMemory(target.PaddedDepth);
            var rows = stackalloc sbyte*[PanelColumns];
            while (true)
            {
                var panel = Interlocked.Increment(ref _next) - 1;
                if (panel >= target.Panels)
                    return;
                for (var column = 0; column < PanelColumns; column++)
                {
                    var row = panel * PanelColumns + column;
                    rows[column] = row < target.Rows ? Row(row, scratch is null ? null : scratch.Pointer + column * target.PaddedDepth) : (sbyte*)padding.Pointer;
                    if (row < target.Rows)
                        CopyScales(row, target.StoredScales(panel), column);
                }
                if (target.IsHalfByte)
                    PanelWriter.HalfBytes(rows, target.PaddedDepth, source is Source.SignedByte or Source.SignedHalf ? 8 : 0, target.Codes(panel));
                else
                    PanelWriter.Bytes(rows, target.PaddedDepth, target.Codes(panel));
            }
        }

        private bool ReadsInPlace => target.IsDepthDense && source is Source.Byte or Source.SignedByte;

        private void CopyScales(int row, byte* stored, int column)
        {
            var scalesPerRow = target.IsSplitChannel ? 1 : target.Tiles;
            for (var tile = 0; tile < target.Tiles; tile++)
                NarrowScales.Set(stored, target.ScaleFormat, tile * PanelColumns + column, scales[(long)row * scalesPerRow + (target.IsSplitChannel ? 0 : tile)]);
        }

        /// <summary>The codes of a row, one a byte, with every tile padded.</summary>
        private sbyte* Row(int row, byte* scratch)
        {
            if (ReadsInPlace)
                return (sbyte*)codes + (long)row * target.Depth;
            for (var tile = 0; tile < target.Tiles; tile++)
            {
                var start = (long)tile * target.TileSize;
                var first = (long)row * target.Depth + start;
                var count = (uint)Math.Min(target.TileSize, target.Depth - start);
                var place = scratch + (long)tile * target.PaddedTile;
                if (source is Source.Byte or Source.SignedByte)
                    Unsafe.CopyBlockUnaligned(place, codes + first, count);
                else
                    for (var i = 0; i < count; i++)
                        place[i] = (byte)(codes[(first + i) >> 1] >> (int)(((first + i) & 1) * 4) & 15);
            }
            return (sbyte*)scratch;
        }
    }
}
