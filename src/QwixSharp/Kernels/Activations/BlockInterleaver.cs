using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Activations;

/// <summary>Brings rows of codes into the layout of a block: 32-bit words of some values of K, row beside row.</summary>
internal static unsafe class BlockInterleaver
{
    /// <summary>All rows of so many words are placed before the next: a line of the block is then written while it is in the cache.</summary>
    private const long WordsAtOnce = 64;

    /// <summary>[K/4][rows][4] bytes.</summary>
    /// <param name="codes">The rows.</param>
    /// <param name="rows">How many.</param>
    /// <param name="groups">K / 4.</param>
    /// <param name="block">The result.</param>
    public static void Bytes(sbyte** codes, int rows, long groups, int* block)
    {
        if (rows == 1)
            Buffer.MemoryCopy(codes[0], block, groups * 4, groups * 4);
        else
            All<PlainWords>(codes, rows, groups, block);
    }

    /// <summary>[words][rows][4] bytes: some words of the rows.</summary>
    /// <param name="codes">The rows.</param>
    /// <param name="rows">How many.</param>
    /// <param name="from">The first word of a row.</param>
    /// <param name="to">Where they end.</param>
    /// <param name="block">The result.</param>
    public static void Bytes(sbyte** codes, int rows, long from, long to, int* block) => Part<PlainWords>(codes, rows, from, to, block - from * rows);

    /// <summary>[K][rows] float32.</summary>
    /// <param name="values">The rows.</param>
    /// <param name="rows">How many.</param>
    /// <param name="depth">K.</param>
    /// <param name="block">The result.</param>
    public static void Floats(float** values, int rows, long depth, float* block) => Bytes((sbyte**)values, rows, depth, (int*)block);

    /// <summary>[K/2][rows][2] 16-bit words, of each four values k and k+2 before k+1 and k+3.</summary>
    /// <param name="codes">The rows.</param>
    /// <param name="rows">How many.</param>
    /// <param name="pairs">K / 2, a multiple of 4.</param>
    /// <param name="block">The result.</param>
    public static void Words(sbyte** codes, int rows, long pairs, int* block) => All<WidenedPairs>(codes, rows, pairs, block);

    /// <summary>[K/4][rows][4] unsigned bytes, each 127 − code.</summary>
    /// <param name="codes">The rows.</param>
    /// <param name="rows">How many.</param>
    /// <param name="groups">K / 4.</param>
    /// <param name="block">The result.</param>
    public static void Complements(sbyte** codes, int rows, long groups, int* block) => All<ComplementWords>(codes, rows, groups, block);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void All<TWords>(sbyte** codes, int rows, long words, int* block)
        where TWords : struct, IWords
    {
        for (var from = 0L; from < words; from += WordsAtOnce)
            Part<TWords>(codes, rows, from, Math.Min(words, from + WordsAtOnce), block);
    }

    private static void Part<TWords>(sbyte** codes, int rows, long from, long to, int* block)
        where TWords : struct, IWords
    {
        var row = 0;
        if (Sse2.IsSupported)
            for (; row + 4 <= rows; row += 4)
                FourRows<TWords>(codes + row, rows, from, to, block + row);
        for (; row < rows; row++)
            OneRow<TWords>(codes[row], rows, from, to, block + row);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OneRow<TWords>(sbyte* codes, int rows, long from, long to, int* block)
        where TWords : struct, IWords
    {
        for (; from + 4 <= to; from += 4)
        {
            var words = TWords.Four(codes, from);
            for (var i = 0; i < 4; i++)
                block[(from + i) * rows] = words.GetElement(i);
        }
        for (; from < to; from++)
            block[from * rows] = TWords.One(codes, from);
    }

    /// <summary>Four rows at a time, as transposes of four by four 32-bit words.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourRows<TWords>(sbyte** codes, int rows, long from, long to, int* block)
        where TWords : struct, IWords
    {
        var (c0, c1, c2, c3) = ((nint)codes[0], (nint)codes[1], (nint)codes[2], (nint)codes[3]);
        var word = from;
        block += from * rows;
        for (; word + 4 <= to; word += 4, block += 4 * rows)
        {
            Vector128<int> r0 = TWords.Four((sbyte*)c0, word), r1 = TWords.Four((sbyte*)c1, word), r2 = TWords.Four((sbyte*)c2, word), r3 = TWords.Four((sbyte*)c3, word);
            var a = Sse2.UnpackLow(r0, r1).AsInt64();
            var b = Sse2.UnpackLow(r2, r3).AsInt64();
            var c = Sse2.UnpackHigh(r0, r1).AsInt64();
            var d = Sse2.UnpackHigh(r2, r3).AsInt64();
            Sse2.UnpackLow(a, b).AsInt32().Store(block);
            Sse2.UnpackHigh(a, b).AsInt32().Store(block + rows);
            Sse2.UnpackLow(c, d).AsInt32().Store(block + 2 * rows);
            Sse2.UnpackHigh(c, d).AsInt32().Store(block + 3 * rows);
        }
        for (; word < to; word++, block += rows)
            Vector128.Create(TWords.One((sbyte*)c0, word), TWords.One((sbyte*)c1, word), TWords.One((sbyte*)c2, word), TWords.One((sbyte*)c3, word)).Store(block);
    }

    /// <summary>How a row gives its 32-bit words.</summary>
    private interface IWords
    {
        /// <summary>Four words.</summary>
        /// <param name="codes">The row.</param>
        /// <param name="word">The number of the first.</param>
        static abstract Vector128<int> Four(sbyte* codes, long word);

        /// <summary>One word.</summary>
        /// <param name="codes">The row.</param>
        /// <param name="word">Its number.</param>
        static abstract int One(sbyte* codes, long word);
    }

    /// <summary>Four codes a word, as they lie.</summary>
    private readonly struct PlainWords : IWords
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector128<int> Four(sbyte* codes, long word) => Vector128.Load((int*)codes + word);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static int One(sbyte* codes, long word) => ((int*)codes)[word];
    }

    /// <summary>Four codes a word, each 127 − code.</summary>
    private readonly struct ComplementWords : IWords
    {
        private const int Complement = 0x7F7F7F7F;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector128<int> Four(sbyte* codes, long word) => PlainWords.Four(codes, word) ^ Vector128.Create(Complement);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static int One(sbyte* codes, long word) => PlainWords.One(codes, word) ^ Complement;
    }

    /// <summary>Two codes a word: 0 and 2 of each four, then 1 and 3.</summary>
    private readonly struct WidenedPairs : IWords
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector128<int> Four(sbyte* codes, long word)
        {
            var bytes = Vector128.CreateScalar(((long*)codes)[word / 4]).AsInt16();
            Vector128<int> even = ((bytes << 8) >> 8).AsInt32(), odd = (bytes >> 8).AsInt32();
            return Vector128.ConditionalSelect(Vector128.Create(-1, 0, -1, 0), Vector128.Shuffle(even, Vector128.Create(0, 0, 1, 1)), Vector128.Shuffle(odd, Vector128.Create(0, 0, 1, 1)));
        }

        public static int One(sbyte* codes, long word) => throw new NotSupportedException("Pairs come by four.");
    }
}
