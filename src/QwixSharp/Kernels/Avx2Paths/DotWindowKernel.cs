using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Convolutions;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Avx2Paths;

/// <summary>
/// The dot product of AVX2 alone: even and odd bytes are multiplied apart, as 16-bit words, since <c>vpmaddubsw</c> saturates.
/// </summary>
internal readonly struct WidenedDot : IDot
{
    /// <inheritdoc/>
    public static string Name => "avx2";

    /// <inheritdoc/>
    public static bool IsSupported => Avx2.IsSupported;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Add(Vector256<int> sums, Vector256<byte> unsigned, Vector256<sbyte> signed)
    {
        var (u, s) = (unsigned.AsInt16(), signed.AsInt16());
        sums += Avx2.MultiplyAddAdjacent(u & Vector256.Create((short)0xFF), (s << 8) >> 8);
        return sums + Avx2.MultiplyAddAdjacent(u >>> 8, s >> 8);
    }
}

/// <summary>Convolutions with a 256-bit dot product of bytes.</summary>
/// <typeparam name="TDot">The instruction.</typeparam>
internal sealed unsafe class DotWindowKernel<TDot> : WindowKernel
    where TDot : struct, IDot
{
    private const int Columns = PackedWeight.PanelColumns;

    /// <inheritdoc/>
    public override string Name => TDot.Name;

    /// <inheritdoc/>
    public override bool IsSupported => TDot.IsSupported;

    /// <inheritdoc/>
    public override int MostWindows => 5;

    /// <inheritdoc/>
    public override int MostPanels(int windows) => 1;

    /// <inheritdoc/>
    public override void Run(WindowArgs* args, in WindowCall call, nint found)
    {
        if (call.Windows == MostWindows)
            SumFive(args, call.Step);
        else
            for (var window = 0; window < call.Windows; window++)
                SumOne(args, args->Image + (nint)window * call.Step, args->Sums + window * Columns);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumFive(WindowArgs* args, nint step)
    {
        var (low0, high0) = (Vector256.Load(args->Start), Vector256.Load(args->Start + 8));
        var (low1, low2, low3, low4) = (low0, low0, low0, low0);
        var (high1, high2, high3, high4) = (high0, high0, high0, high0);
        var weights = args->Weights;
        for (nint segment = 0; segment < args->SegmentCount; segment++)
        {
            var x = args->Image + args->Segments[segment];
            for (var groups = args->Groups; groups > 0; groups--, weights += 64, x += 4)
            {
                var left = Vector256.Load(weights);
                var right = Vector256.Load(weights + 32);
                var codes = Word(x);
                low0 = TDot.Add(low0, codes, left);
                high0 = TDot.Add(high0, codes, right);
                codes = Word(x + step);
                low1 = TDot.Add(low1, codes, left);
                high1 = TDot.Add(high1, codes, right);
                codes = Word(x + 2 * step);
                low2 = TDot.Add(low2, codes, left);
                high2 = TDot.Add(high2, codes, right);
                codes = Word(x + 3 * step);
                low3 = TDot.Add(low3, codes, left);
                high3 = TDot.Add(high3, codes, right);
                codes = Word(x + 4 * step);
                low4 = TDot.Add(low4, codes, left);
                high4 = TDot.Add(high4, codes, right);
            }
        }
        var sums = args->Sums;
        low0.Store(sums);
        high0.Store(sums + 8);
        low1.Store(sums + 16);
        high1.Store(sums + 24);
        low2.Store(sums + 32);
        high2.Store(sums + 40);
        low3.Store(sums + 48);
        high3.Store(sums + 56);
        low4.Store(sums + 64);
        high4.Store(sums + 72);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumOne(WindowArgs* args, byte* image, int* sums)
    {
        var low = Vector256.Load(args->Start);
        var high = Vector256.Load(args->Start + 8);
        var weights = args->Weights;
        for (nint segment = 0; segment < args->SegmentCount; segment++)
        {
            var x = image + args->Segments[segment];
            for (var groups = args->Groups; groups > 0; groups--, weights += 64, x += 4)
            {
                var codes = Word(x);
                low = TDot.Add(low, codes, Vector256.Load(weights));
                high = TDot.Add(high, codes, Vector256.Load(weights + 32));
            }
        }
        low.Store(sums);
        high.Store(sums + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<byte> Word(byte* x) => Vector256.Create(*(uint*)x).AsByte();
}
