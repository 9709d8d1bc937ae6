using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Weights;

/// <summary>
/// What must be taken off the codes of a weight, so that products of the rest with bytes fit 16 bits, two steps of four values of K at
/// a time. What is taken off is multiplied by itself.
/// </summary>
/// <remarks>
/// <para>
/// <c>vpmaddubsw</c> adds two products of an unsigned byte u and a code, and saturates. It cannot where the codes of one sign add up to
/// 128 at most: 255 · 128 ≤ 32767. The sum of two such pairs less 127 times the codes is a sum of codes times −127 … 128, and may wrap
/// around on the way; it fits where 128 · P + 127 · N ≤ 32767 and 127 · P + 128 · N ≤ 32768, with P and N the sums of the positive and
/// of the negative codes. Only the first code of a pair is ever changed: that suffices.
/// </para>
/// <para>
/// A clip is a number of 32 bits: the column (4 bits), the step within its part of K (8 bits), and from bit 16 on what is taken off the codes
/// 0 and 2 of the step's four, a signed byte each. Clips lie panel by panel, part by part.
/// </para>
/// </remarks>
internal sealed unsafe class ClippedPairs : IDisposable
{
    /// <summary>Steps of K whose clips lie together.</summary>
    public const int StepsOfPart = 128;

    /// <summary>With clips in more of the steps' columns than one in so many, products gain little.</summary>
    private const int FewestStepsPerClip = 32;

    private const int Columns = PackedWeight.PanelColumns, StepBytes = 64, Half = 32;

    /// <summary>What the codes of one sign of a pair may add up to.</summary>
    private const int LargestPair = 128;

    /// <summary>Codes whose magnitudes add up to no more fit, whatever their signs: 128 · 255 ≤ 32767.</summary>
    private const int SurelyFits = 255;

    private readonly AlignedMemory _clips, _parts;
    private readonly int _partsOfPanel;

    private ClippedPairs(List<uint> clips, List<int> ends, int partsOfPanel)
    {
        _partsOfPanel = partsOfPanel;
        _clips = new AlignedMemory(clips.Count * (long)sizeof(uint));
        for (var i = 0; i < clips.Count; i++)
            ((uint*)_clips.Pointer)[i] = clips[i];
        _parts = new AlignedMemory((ends.Count + 1L) * sizeof(uint*));
        var parts = (uint**)_parts.Pointer;
        *parts++ = (uint*)_clips.Pointer;
        foreach (var end in ends)
            *parts++ = (uint*)_clips.Pointer + end;
    }

    /// <summary>The memory in bytes.</summary>
    public long Bytes => _clips.Bytes + _parts.Bytes;

    /// <summary>Where the clips of each part of K of a panel begin; those of the last end where the next begins.</summary>
    /// <param name="panel">The panel's number.</param>
    public uint** Of(int panel) => (uint**)_parts.Pointer + (long)panel * _partsOfPanel;

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        _clips.Dispose();
        _parts.Dispose();
    }

    /// <summary>Finds the clips of a weight of byte codes; null where they are too many.</summary>
    /// <param name="weight">The weight.</param>
    public static ClippedPairs? Find(PackedWeight weight)
    {
        var steps = (int)(weight.PaddedDepth / 4);
        var partsOfPanel = (steps + StepsOfPart - 1) / StepsOfPart;
        var most = (long)steps * Columns * weight.Panels / FewestStepsPerClip;
        List<uint> clips = [];
        List<int> ends = new(partsOfPanel * weight.Panels);
        for (var panel = 0; panel < weight.Panels; panel++)
            for (var step = 0; step < steps; step += StepsOfPart)
            {
                FindInPart((sbyte*)weight.Codes(panel) + (long)step * StepBytes, Math.Min(StepsOfPart, steps - step), clips);
                ends.Add(clips.Count);
                if (clips.Count > most)
                    return null;
            }
        return new ClippedPairs(clips, ends, partsOfPanel);
    }

    /// <summary>Finds the clips of two steps after another.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FindInPart(sbyte* codes, int steps, List<uint> clips)
    {
        for (var step = 0; step < steps; step += 2, codes += 2 * StepBytes)
            for (var half = 0; half < 2; half++)
            {
                var first = Vector256.Load(codes + half * Half);
                var second = Vector256.Load(codes + StepBytes + half * Half);
                var suspects = MayNeedClips(first, second).AsInt32();
                // One bit a column.
                for (var columns = Vector256.Equals(suspects, Vector256<int>.Zero).ExtractMostSignificantBits() ^ 0xFF; columns != 0; columns &= columns - 1)
                {
                    var column = half * 8 + int.TrailingZeroCount((int)columns);
                    Clip(codes + column * 4, step * Columns + column, clips);
                }
            }
    }

    /// <summary>Ones where a pair is too large or both pairs might be.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector256<short> MayNeedClips(Vector256<sbyte> first, Vector256<sbyte> second)
    {
        var ones = Vector256.Create((byte)1);
        // Two codes of different signs never add up to more than 128.
        var largest = Avx2.Max(Avx2.Abs(Avx2.MultiplyAddAdjacent(ones, first)), Avx2.Abs(Avx2.MultiplyAddAdjacent(ones, second)));
        var magnitudes = Avx2.MultiplyAddAdjacent(Avx2.Abs(first), ones.AsSByte()) + Avx2.MultiplyAddAdjacent(Avx2.Abs(second), ones.AsSByte());
        return Vector256.GreaterThan(largest.AsInt16(), Vector256.Create((short)LargestPair)) | Vector256.GreaterThan(magnitudes, Vector256.Create((short)SurelyFits));
    }

    /// <summary>The clips of one column in two steps.</summary>
    private static void Clip(sbyte* codes, int place, List<uint> clips)
    {
        uint first = 0, second = 0;
        for (var pair = 0; pair < 4; pair += 2)
        {
            var (a, b) = Clip(codes[pair], codes[pair + 1], codes[StepBytes + pair], codes[StepBytes + pair + 1]);
            first |= (uint)(byte)a << (16 + 4 * pair);
            second |= (uint)(byte)b << (16 + 4 * pair);
        }
        if (first != 0)
            clips.Add(first | (uint)place);
        if (second != 0)
            clips.Add(second | (uint)(place + Columns));
    }

    /// <summary>What is taken off a0 and b0 of the two pairs a0, a1 and b0, b1, whose products are added.</summary>
    internal static (int A, int B) Clip(int a0, int a1, int b0, int b1)
    {
        var (a, b) = (Excess(a0 + a1), Excess(b0 + b1));
        if (!Fits(a0 - a, a1, b0 - b, b1))
            a = a0;
        if (!Fits(a0 - a, a1, b0 - b, b1))
            b = b0;
        return (a, b);
    }

    private static int Excess(int sum) => sum - Math.Clamp(sum, -LargestPair, LargestPair);

    /// <summary>Whether these codes times −127 … 128 fit 16 bits.</summary>
    private static bool Fits(int a, int b, int c, int d)
    {
        var positive = Math.Max(a, 0) + Math.Max(b, 0) + Math.Max(c, 0) + Math.Max(d, 0);
        var negative = positive - (a + b + c + d);
        return 128 * positive + 127 * negative <= short.MaxValue && 127 * positive + 128 * negative <= -short.MinValue;
    }
}
