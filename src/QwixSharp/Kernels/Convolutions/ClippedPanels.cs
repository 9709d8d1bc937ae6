using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>
/// What must be taken off the codes of a convolution's weight, so that products of the rest with the bytes of an image fit 16 bits, two steps of
/// four codes at a time; and panels without it. What is taken off is multiplied by itself: eight channels of a step together are a rest.
/// </summary>
/// <remarks>
/// Bytes of 8 bits are multiplied as <see cref="ClippedPairs"/> says. With bytes of 7 bits, 0 … 127, <c>vpmaddubsw</c> never saturates, and the sum of
/// two such pairs fits where the codes of either sign add up to <see cref="MostNarrow"/>: 127 · 258 ≤ 32767. Else all of the first step's pair is taken off,
/// which leaves 256 at most.
/// </remarks>
internal sealed unsafe class ClippedPanels : IDisposable
{
    /// <summary>Bytes of two steps of half a panel, for bytes of 8 bits: the codes of either, and <see cref="Middle"/> times the sums of what meets in a lane.</summary>
    public const int PairBytes = 3 * HalfBytes;

    /// <summary>With more steps than one in so many that have a rest, convolutions gain little.</summary>
    private const int FewestStepsPerRest = 8;

    private const int Columns = PackedWeight.PanelColumns, StepBytes = 64, HalfBytes = 32;

    /// <summary>What is taken off bytes of 8 bits, so that their products with four codes fit 16 bits.</summary>
    private const int Middle = 127;

    private const int MostNarrow = 258;

    private readonly SegmentedWeight _weight;
    private readonly bool _isNarrow;
    private readonly int[] _steps;
    private readonly int[] _ends;
    private readonly AlignedMemory _rests;
    private readonly AlignedMemory? _start;
    private readonly int _mostRests;

    private ClippedPanels(SegmentedWeight weight, bool isNarrow, List<(int Step, Vector256<sbyte> Codes)> rests, int[] ends)
    {
        (_weight, _isNarrow, _ends) = (weight, isNarrow, ends);
        _steps = [.. rests.Select(rest => rest.Step)];
        _rests = new AlignedMemory(rests.Count * (long)HalfBytes);
        for (var i = 0; i < rests.Count; i++)
            rests[i].Codes.Store((sbyte*)_rests.Pointer + i * HalfBytes);
        for (var panel = 0; panel < weight.AllPanels; panel++)
            _mostRests = Math.Max(_mostRests, ends[2 * panel + 2] - ends[2 * panel]);
        if (isNarrow)
            return;
        _start = new AlignedMemory(weight.AllPanels * Columns * (long)sizeof(int));
        for (var column = 0; column < weight.AllPanels * Columns; column++)
            Start[column] = Middle * (weight.Sums[column] - SumOfRests(column));
    }

    /// <summary>[panel of all groups][16] what the sums of the kernel lack: <see cref="Middle"/> times the codes that are left; null for 7 bits.</summary>
    public int* Start => _start is null ? null : (int*)_start.Pointer;

    /// <summary>The room that a panel needs; 0 where panels are read as the weight has them.</summary>
    public long Room => _isNarrow && _steps.Length == 0 ? 0 : AlignedMemory.RoundUp(CodeBytes) + AlignedMemory.RoundUp(_mostRests * (long)sizeof(nint));

    private long CodeBytes => _isNarrow ? _weight.PanelBytes : _weight.PanelBytes / StepBytes * PairBytes;

    /// <summary>Finds what must be taken off a weight; null where it is too much, and where steps do not come in twos.</summary>
    /// <param name="weight">The weight.</param>
    /// <param name="isNarrow">Whether for bytes of 7 bits.</param>
    public static ClippedPanels? Find(SegmentedWeight weight, bool isNarrow)
    {
        if (weight.Groups % 2 != 0)
            return null;
        var steps = weight.Segments * weight.Groups;
        var halves = 2 * weight.AllPanels;
        List<(int Step, Vector256<sbyte> Codes)> rests = [];
        var ends = new int[halves + 1];
        for (var half = 0; half < halves; half++)
        {
            var codes = weight.Codes + half / 2 * weight.PanelBytes + half % 2 * HalfBytes;
            for (var step = 0; step < steps; step += 2, codes += 2 * StepBytes)
                FindInPair(codes, step, isNarrow, rests);
            ends[half + 1] = rests.Count;
            if (rests.Count > (long)steps * halves / FewestStepsPerRest)
                return null;
        }
        return new ClippedPanels(weight, isNarrow, rests, ends);
    }

    /// <summary>Writes a panel without its rests.</summary>
    /// <param name="place">The panel among those of all groups.</param>
    /// <param name="segments">[segment] distances from a window's first code to its segments.</param>
    /// <param name="room">As much as <see cref="Room"/> says.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public PreparedPanel Prepare(int place, nint* segments, byte* room)
    {
        var (first, middle, end) = (_ends[2 * place], _ends[2 * place + 1], _ends[2 * place + 2]);
        var codes = _weight.Codes + place * _weight.PanelBytes;
        var rests = (sbyte*)_rests.Pointer + first * (nint)HalfBytes;
        var panel = new PreparedPanel { Codes = codes, Rests = rests, FirstRests = middle - first, OtherRests = end - middle };
        if (_isNarrow && first == end)
            return panel;
        panel.Codes = (sbyte*)room;
        panel.RestPlaces = (nint*)(room + AlignedMemory.RoundUp(CodeBytes));
        if (_isNarrow)
            Unsafe.CopyBlock(room, codes, (uint)CodeBytes);
        else
            AddOffsets(codes, (nint)_weight.PanelBytes / StepBytes, room);
        for (var rest = first; rest < end; rest++, rests += HalfBytes)
        {
            var (segment, group) = Math.DivRem(_steps[rest], _weight.Groups);
            panel.RestPlaces[rest - first] = segments[segment] + group * 4;
            if (_isNarrow)
                TakeOff(rests, panel.Codes + _steps[rest] * (nint)StepBytes + (rest < middle ? 0 : HalfBytes));
            else
                TakeOff(rests, _steps[rest], panel.Codes + (rest < middle ? 0 : CodeBytes / 2));
        }
        return panel;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _rests.Dispose();
        _start?.Dispose();
    }

    private int SumOfRests(int column)
    {
        var half = column / (Columns / 2);
        var sum = 0;
        for (var rest = _ends[half]; rest < _ends[half + 1]; rest++)
            for (var i = 0; i < 4; i++)
                sum += ((sbyte*)_rests.Pointer)[rest * HalfBytes + column % (Columns / 2) * 4 + i];
        return sum;
    }

    /// <summary>Codes of two steps after another, and what they are too large by: [half of the columns][pair of steps].</summary>
    private static void AddOffsets(sbyte* codes, nint steps, byte* unpacked)
    {
        var factor = Vector256.Create((byte)Middle);
        var other = steps / 2 * PairBytes;
        for (; steps > 0; steps -= 2, codes += 2 * StepBytes, unpacked += PairBytes)
            for (var half = 0; half < 2; half++)
            {
                var first = Vector256.Load(codes + half * HalfBytes);
                var second = Vector256.Load(codes + half * HalfBytes + StepBytes);
                var target = (sbyte*)unpacked + half * other;
                first.Store(target);
                second.Store(target + HalfBytes);
                (Avx2.MultiplyAddAdjacent(factor, first) + Avx2.MultiplyAddAdjacent(factor, second)).Store((short*)(target + 2 * HalfBytes));
            }
    }

    private static void TakeOff(sbyte* rest, sbyte* codes) => (Vector256.Load(codes) - Vector256.Load(rest)).Store(codes);

    /// <summary>The same where an offset is to change too, which may wrap around.</summary>
    private static void TakeOff(sbyte* rest, int step, sbyte* half)
    {
        var pair = half + step / 2 * (nint)PairBytes;
        TakeOff(rest, pair + step % 2 * HalfBytes);
        var offset = (short*)(pair + 2 * HalfBytes);
        (Vector256.Load(offset) - Avx2.MultiplyAddAdjacent(Vector256.Create((byte)Middle), Vector256.Load(rest))).Store(offset);
    }

    private static void FindInPair(sbyte* codes, int step, bool isNarrow, List<(int Step, Vector256<sbyte> Codes)> rests)
    {
        Vector256<sbyte> first = Vector256.Load(codes), second = Vector256.Load(codes + StepBytes);
        var suspects = ClippedPairs.MayNeedClips(first, second);
        if (suspects == Vector256<short>.Zero)
            return;
        var (ofFirst, ofSecond) = isNarrow ? (OfNarrow(first, second), default) : Of(first, second, suspects);
        if (ofFirst != Vector256<sbyte>.Zero)
            rests.Add((step, ofFirst));
        if (ofSecond != Vector256<sbyte>.Zero)
            rests.Add((step + 1, ofSecond));
    }

    private static (Vector256<sbyte> First, Vector256<sbyte> Second) Of(Vector256<sbyte> first, Vector256<sbyte> second, Vector256<short> suspects)
    {
        for (var (pair, a, b) = (0, Vector256<sbyte>.Zero, Vector256<sbyte>.Zero); ; pair += 2)
        {
            if (pair == Vector256<sbyte>.Count)
                return (a, b);
            if (suspects[pair / 2] == 0)
                continue;
            var (offFirst, offSecond) = ClippedPairs.Clip(first[pair], first[pair + 1], second[pair], second[pair + 1]);
            (a, b) = (a.WithElement(pair, (sbyte)offFirst), b.WithElement(pair, (sbyte)offSecond));
        }
    }

    private static Vector256<sbyte> OfNarrow(Vector256<sbyte> first, Vector256<sbyte> second)
    {
        var ones = Vector256.Create((byte)1);
        var most = Vector256.Create((short)MostNarrow);
        var positive = Avx2.MultiplyAddAdjacent(ones, Avx2.Max(first, default)) + Avx2.MultiplyAddAdjacent(ones, Avx2.Max(second, default));
        var negative = Avx2.MultiplyAddAdjacent(ones, Avx2.Min(first, default)) + Avx2.MultiplyAddAdjacent(ones, Avx2.Min(second, default));
        return first & (Vector256.GreaterThan(positive, most) | Vector256.GreaterThan(-negative, most)).AsSByte();
    }
}
