using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Activations;

/// <summary>Brings rows of codes into <see cref="ActivationForm.Segments"/>, for AVX2.</summary>
internal static unsafe class SegmentInterleaver
{
    /// <summary>The words of four values in a segment.</summary>
    private const int Words = 16;

    /// <summary>The segments of a tile.</summary>
    /// <param name="depth">Its values; a multiple of 8.</param>
    public static long SegmentsOf(long depth) => (depth / 4 + Words - 1) / Words;

    /// <summary>[segment][1 + K/4][rows][4].</summary>
    /// <param name="codes">The rows.</param>
    /// <param name="rows">How many.</param>
    /// <param name="tiles">The tiles of a row.</param>
    /// <param name="tileDepth">The values of a tile; a multiple of 8.</param>
    /// <param name="block">The result.</param>
    public static void Interleave(sbyte** codes, int rows, long tiles, long tileDepth, int* block)
    {
        var tileWords = tileDepth / 4;
        for (var tile = 0L; tile < tiles * tileWords; tile += tileWords)
            for (var word = 0L; word < tileWords; word += Words)
            {
                var count = Math.Min(Words, tileWords - word);
                for (var row = 0; row < rows; row++)
                    *block++ = Start(codes[row] + (tile + word) * 4, count);
                BlockInterleaver.Bytes(codes, rows, tile + word, tile + word + count, block);
                block += count * rows;
            }
    }

    /// <summary>What codes 0 … 15 that are too large by 8 add to the products with these bytes, in either 16-bit lane, which may wrap around.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static int Start(sbyte* codes, long words)
    {
        var eights = Vector128.Create((byte)8);
        var sums = Vector128<short>.Zero;
        var word = 0L;
        for (; word + 4 <= words; word += 4)
            sums += Ssse3.MultiplyAddAdjacent(eights, Vector128.Load(codes + word * 4));
        if (word < words)
            sums += Ssse3.MultiplyAddAdjacent(eights, Vector128.CreateScalar(*(long*)(codes + word * 4)).AsSByte());
        sums += Vector128.Shuffle(sums.AsInt32(), Vector128.Create(2, 3, 0, 1)).AsInt16();
        sums += Vector128.Shuffle(sums.AsInt32(), Vector128.Create(1, 0, 3, 2)).AsInt16();
        return sums.AsInt32().ToScalar();
    }
}
