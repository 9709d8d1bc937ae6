using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Avx2Paths;

/// <summary>A 256-bit <c>vpdpbusd</c>, or a stand-in for it.</summary>
internal interface IDot
{
    /// <summary>The kernel's name in traces.</summary>
    static abstract string Name { get; }

    /// <summary>Whether this machine can run it.</summary>
    static abstract bool IsSupported { get; }

    /// <summary>To each lane of the sums, the four products of its unsigned and signed bytes.</summary>
    /// <param name="sums">8 sums.</param>
    /// <param name="unsigned">32 bytes.</param>
    /// <param name="signed">32 bytes.</param>
    static abstract Vector256<int> Add(Vector256<int> sums, Vector256<byte> unsigned, Vector256<sbyte> signed);
}

/// <summary>The VEX-coded instruction of AVX-VNNI.</summary>
internal readonly struct AvxVnniDot : IDot
{
    /// <inheritdoc/>
    public static string Name => "avx-vnni";

    /// <inheritdoc/>
    public static bool IsSupported => AvxVnni.IsSupported && Fma.IsSupported;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Add(Vector256<int> sums, Vector256<byte> unsigned, Vector256<sbyte> signed) =>
        AvxVnni.MultiplyWideningAndAdd(sums, unsigned, signed);
}

/// <summary>Integer products with a 256-bit dot product of bytes: codes are made unsigned, and the start values take that out.</summary>
/// <typeparam name="TDot">The instruction.</typeparam>
internal sealed unsafe class DotKernel<TDot> : BlockKernel
    where TDot : struct, IDot
{
    /// <inheritdoc/>
    public override string Name => TDot.Name;

    /// <inheritdoc/>
    public override bool IsSupported => TDot.IsSupported;

    /// <inheritdoc/>
    public override ActivationForm Form(CodeFormat format) => ActivationForm.Bytes;

    /// <inheritdoc/>
    public override int WeightBias(CodeFormat format) => format == CodeFormat.Int4 ? 8 : 128;

    /// <inheritdoc/>
    public override bool PrefersPlanes(CodeFormat format, int rows) => rows <= 8;

    /// <inheritdoc/>
    protected override void SumRows(byte* activations, byte* weights, CodeFormat format, int count, int rows, nint groups, int* start, int* sums)
    {
        if (format == CodeFormat.Int4)
            SumHalfBytes(activations, weights, count, rows * 4, groups, start, sums);
        else
            SumBytes(activations, weights, count, rows * 4, groups, start, sums);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumBytes(byte* a, byte* w, int count, nint step, nint groups, int* start, int* sums)
    {
        var flip = Vector256.Create((byte)0x80);
        if (count < 4)
        {
            for (var row = 0; row < count; row++)
            {
                var left = Vector256.Create(start[row]);
                var right = left;
                for (nint group = 0; group < groups; group++)
                {
                    var word = Word(a + group * step + 4 * row);
                    left = TDot.Add(left, Vector256.Load(w + group * 64) ^ flip, word);
                    right = TDot.Add(right, Vector256.Load(w + group * 64 + 32) ^ flip, word);
                }
                left.Store(sums + 16 * row);
                right.Store(sums + 16 * row + 8);
            }
            return;
        }
        var (low0, low1, low2, low3) = (Vector256.Create(start[0]), Vector256.Create(start[1]), Vector256.Create(start[2]), Vector256.Create(start[3]));
        var (high0, high1, high2, high3) = (low0, low1, low2, low3);
        for (; groups > 0; groups--, w += 64, a += step)
        {
            var codes = Vector256.Load(w) ^ flip;
            var codes2 = Vector256.Load(w + 32) ^ flip;
            var x = Word(a);
            low0 = TDot.Add(low0, codes, x);
            high0 = TDot.Add(high0, codes2, x);
            x = Word(a + 4);
            low1 = TDot.Add(low1, codes, x);
            high1 = TDot.Add(high1, codes2, x);
            x = Word(a + 8);
            low2 = TDot.Add(low2, codes, x);
            high2 = TDot.Add(high2, codes2, x);
            x = Word(a + 12);
            low3 = TDot.Add(low3, codes, x);
            high3 = TDot.Add(high3, codes2, x);
        }
        low0.Store(sums);
        high0.Store(sums + 8);
        low1.Store(sums + 16);
        high1.Store(sums + 24);
        low2.Store(sums + 32);
        high2.Store(sums + 40);
        low3.Store(sums + 48);
        high3.Store(sums + 56);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumHalfBytes(byte* a, byte* w, int count, nint step, nint groups, int* start, int* sums)
    {
        var mask = Vector256.Create((byte)15);
        for (var row = 0; row < count; row++)
        {
            var left = Vector256.Create(start[row]);
            var right = left;
            for (nint group = 0; group < groups; group++)
            {
                var codes = Vector256.Load(w + group * 64);
                var codes2 = Vector256.Load(w + group * 64 + 32);
                var x = Word(a + 2 * group * step + 4 * row);
                left = TDot.Add(left, codes & mask, x);
                right = TDot.Add(right, codes2 & mask, x);
                x = Word(a + (2 * group + 1) * step + 4 * row);
                left = TDot.Add(left, (codes.AsUInt16() >>> 4).AsByte() & mask, x);
                right = TDot.Add(right, (codes2.AsUInt16() >>> 4).AsByte() & mask, x);
            }
            left.Store(sums + 16 * row);
            right.Store(sums + 16 * row + 8);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<sbyte> Word(byte* a) => Vector256.Create(*(int*)a).AsSByte();
}
