using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Weights;
using Simd = System.Runtime.Intrinsics.X86.Avx2;

namespace QwixSharp.Kernels.Avx2Paths;

/// <summary>One row of float32 times a panel of bytes, decoded in fewer steps than one number at a time takes, to numbers that lack a power of two.</summary>
/// <remarks>Eight sums, so that no addition waits for the last; beside them, what the loops keep fits the other registers.</remarks>
internal static unsafe class OneRowSums
{
    private const int Columns = PackedWeight.PanelColumns;

    /// <summary>As in <see cref="ShortTileRow"/>; these loops take longer for as many bytes.</summary>
    public const int PrefetchDistance = 2048;

    /// <summary>log2 of what <see cref="Int8"/>'s numbers lack.</summary>
    public const int Int8Exponent = -24;

    /// <summary>Signed bytes: <c>vpshufb</c> moves a byte to the top of its lane, whose conversion is the code times 2^24.</summary>
    /// <param name="args">The operands.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Int8(FloatTileArgs* args)
    {
        var codes = args->Weights;
        var x = args->Activations;
        var scales = args->WeightScales;
        Vector256<byte> move0 = Move(0), move1 = Move(1), move2 = Move(2), move3 = Move(3);
        var totalLow = Vector256<float>.Zero;
        var totalHigh = totalLow;
        for (var tile = args->Tiles; tile > 0; tile--, scales += Columns)
        {
            Vector256<float> low0 = default, low1 = default, low2 = default, low3 = default, high0 = default, high1 = default, high2 = default, high3 = default;
            for (var group = args->Groups; group > 0; group--, codes += 64, x += 4)
            {
                Sse.Prefetch0(codes + PrefetchDistance);
                var left = Vector256.Load(codes);
                var right = Vector256.Load(codes + 32);
                var v = Vector256.Create(x[0]);
                low0 = Fma.MultiplyAdd(Number(left, move0), v, low0);
                high0 = Fma.MultiplyAdd(Number(right, move0), v, high0);
                v = Vector256.Create(x[1]);
                low1 = Fma.MultiplyAdd(Number(left, move1), v, low1);
                high1 = Fma.MultiplyAdd(Number(right, move1), v, high1);
                v = Vector256.Create(x[2]);
                low2 = Fma.MultiplyAdd(Number(left, move2), v, low2);
                high2 = Fma.MultiplyAdd(Number(right, move2), v, high2);
                v = Vector256.Create(x[3]);
                low3 = Fma.MultiplyAdd(Number(left, move3), v, low3);
                high3 = Fma.MultiplyAdd(Number(right, move3), v, high3);
            }
            totalLow = Fma.MultiplyAdd(low0 + low1 + (low2 + low3), Vector256.Load(scales), totalLow);
            totalHigh = Fma.MultiplyAdd(high0 + high1 + (high2 + high3), Vector256.Load(scales + 8), totalHigh);
        }
        totalLow.Store(args->Result);
        totalHigh.Store(args->Result + 8);
    }

    /// <summary>
    /// Bytes of an fp8 type: one shift puts the bits of two codes at once where float32 has them, see <see cref="Fp8Layout"/>, for which
    /// the codes of a word lie in the upper bytes of its halves.
    /// </summary>
    /// <typeparam name="TType">The type.</typeparam>
    /// <param name="args">The operands.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Fp8<TType>(FloatTileArgs* args)
        where TType : struct, IFp8
    {
        var codes = args->Weights;
        var x = args->Activations;
        var scales = args->WeightScales;
        var mask = Vector256.Create(Fp8Layout.Mask(TType.Shift));
        var totalLow = Vector256<float>.Zero;
        var totalHigh = totalLow;
        for (var tile = args->Tiles; tile > 0; tile--, scales += Columns)
        {
            Vector256<float> low0 = default, low1 = default, low2 = default, low3 = default, high0 = default, high1 = default, high2 = default, high3 = default;
            for (var group = args->Groups; group > 0; group--, codes += 64, x += 4)
            {
                Sse.Prefetch0(codes + PrefetchDistance);
                var left = Vector256.Load((short*)codes);
                var right = Vector256.Load((short*)codes + 16);
                var words = (left >> TType.Shift).AsInt32();
                var words2 = (right >> TType.Shift).AsInt32();
                var v = Vector256.Create(x[3]);
                low3 = Fma.MultiplyAdd((words & mask).AsSingle(), v, low3);
                high3 = Fma.MultiplyAdd((words2 & mask).AsSingle(), v, high3);
                v = Vector256.Create(x[1]);
                low1 = Fma.MultiplyAdd((Simd.ShiftLeftLogical(words, 16) & mask).AsSingle(), v, low1);
                high1 = Fma.MultiplyAdd((Simd.ShiftLeftLogical(words2, 16) & mask).AsSingle(), v, high1);
                words = (Simd.ShiftLeftLogical(left, 8) >> TType.Shift).AsInt32();
                words2 = (Simd.ShiftLeftLogical(right, 8) >> TType.Shift).AsInt32();
                v = Vector256.Create(x[2]);
                low2 = Fma.MultiplyAdd((words & mask).AsSingle(), v, low2);
                high2 = Fma.MultiplyAdd((words2 & mask).AsSingle(), v, high2);
                v = Vector256.Create(x[0]);
                low0 = Fma.MultiplyAdd((Simd.ShiftLeftLogical(words, 16) & mask).AsSingle(), v, low0);
                high0 = Fma.MultiplyAdd((Simd.ShiftLeftLogical(words2, 16) & mask).AsSingle(), v, high0);
            }
            totalLow = Fma.MultiplyAdd(low0 + low1 + (low2 + low3), Vector256.Load(scales), totalLow);
            totalHigh = Fma.MultiplyAdd(high0 + high1 + (high2 + high3), Vector256.Load(scales + 8), totalHigh);
        }
        totalLow.Store(args->Result);
        totalHigh.Store(args->Result + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Number(Vector256<byte> codes, Vector256<byte> move) => Avx.ConvertToVector256Single(Simd.Shuffle(codes, move).AsInt32());

    /// <summary>Byte <paramref name="value"/> of each 32-bit word to its top, zeros below.</summary>
    private static Vector256<byte> Move(int value) => (Vector256.Create(value << 24) + Vector256.Create(0x00808080, 0x04808080, 0x08808080, 0x0C808080, 0x00808080, 0x04808080, 0x08808080, 0x0C808080)).AsByte();
}
