using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Avx2Paths;

/// <summary>
/// What the 256-bit integer kernels share: a block of up to four rows is cut into 4, 2 and 1 rows, each tile's sums go to a
/// small buffer, and scaled tiles are added up from there.
/// </summary>
internal abstract unsafe class BlockKernel : IntegerKernel
{
    private const int Columns = PackedWeight.PanelColumns;

    /// <inheritdoc/>
    public override int MaxRows(CodeFormat format, bool tiled) => 4;

    /// <inheritdoc/>
    public override int MaxPanels(CodeFormat format, bool tiled, int rows) => 1;

    /// <inheritdoc/>
    public override void Run(IntegerTileArgs* args, CodeFormat format, bool tiled, int rows, int panels)
    {
        for (var panel = 0; panel < panels; panel++)
        {
            var weights = args->Weights + panel * args->PanelBytes;
            var result = (int*)args->Result + panel * rows * Columns;
            if (!tiled)
                SumTile(args->Activations, weights, format, rows, args->Groups, args->Start, result);
            else
                SumTiles(args, weights, format, rows, (float*)((byte*)args->WeightScales + panel * args->PanelScaleBytes), (float*)result);
        }
    }

    /// <summary>The sums of one tile for some rows of a block.</summary>
    /// <param name="activations">The first of these rows in the first group.</param>
    /// <param name="weights">The tile's codes.</param>
    /// <param name="format">Their format.</param>
    /// <param name="count">How many rows: 4, 2 or 1.</param>
    /// <param name="rows">The rows of the whole block.</param>
    /// <param name="groups">Groups of 64 bytes.</param>
    /// <param name="start">Start values, one a row.</param>
    /// <param name="sums">[count][16].</param>
    protected abstract void SumRows(byte* activations, byte* weights, CodeFormat format, int count, int rows, nint groups, int* start, int* sums);

    /// <summary>32-bit words of a row that meet 64 bytes of codes.</summary>
    private int StepsPerGroup(CodeFormat format) => Form(format) == ActivationForm.Words || format == CodeFormat.Int4 ? 2 : 1;

    private void SumTile(byte* activations, byte* weights, CodeFormat format, int rows, nint groups, int* start, int* sums)
    {
        for (var row = 0; row < rows;)
        {
            var count = (rows - row) switch { >= 4 => 4, >= 2 => 2, _ => 1 };
            SumRows(activations + row * 4, weights, format, count, rows, groups, start + row, sums + row * Columns);
            row += count;
        }
    }

    private void SumTiles(IntegerTileArgs* args, byte* weights, CodeFormat format, int rows, float* scales, float* totals)
    {
        var sums = stackalloc int[4 * Columns];
        new Span<float>(totals, rows * Columns).Clear();
        var activationBytes = args->Groups * rows * 4 * StepsPerGroup(format);
        var activations = args->Activations;
        for (nint tile = 0; tile < args->Tiles; tile++)
        {
            SumTile(activations, weights, format, rows, args->Groups, args->Start + tile * rows, sums);
            ScaledSums.Add(sums, rows, scales, args->ActivationScales + tile * rows, totals);
            activations += activationBytes;
            weights += args->Groups * 64;
            scales += Columns;
        }
    }
}
