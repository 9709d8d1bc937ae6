using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Avx2Paths;

/// <summary>Adds the sums of a tile, times both scales, to totals.</summary>
internal static unsafe class ScaledSums
{
    private const int Columns = PackedWeight.PanelColumns;

    /// <summary>totals += sums · (weight scale · row scale).</summary>
    /// <param name="sums">[rows][16].</param>
    /// <param name="rows">How many rows.</param>
    /// <param name="weightScales">16 scales.</param>
    /// <param name="rowScales">The rows' scales.</param>
    /// <param name="totals">[rows][16].</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Add(int* sums, int rows, float* weightScales, float* rowScales, float* totals)
    {
        var low = Vector256.Load(weightScales);
        var high = Vector256.Load(weightScales + 8);
        for (var row = 0; row < rows; row++, sums += Columns, totals += Columns)
        {
            var rowScale = Vector256.Create(rowScales[row]);
            Fma.MultiplyAdd(Avx.ConvertToVector256Single(Vector256.Load(sums)), low * rowScale, Vector256.Load(totals)).Store(totals);
            Fma.MultiplyAdd(Avx.ConvertToVector256Single(Vector256.Load(sums + 8)), high * rowScale, Vector256.Load(totals + 8)).Store(totals + 8);
        }
    }
}
