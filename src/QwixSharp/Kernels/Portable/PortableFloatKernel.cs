using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Portable;

/// <summary>Weight-only products of every format with platform-neutral vectors and table look-ups one by one.</summary>
internal sealed unsafe class PortableFloatKernel : FloatKernel
{
    private const int Columns = PackedWeight.PanelColumns;

    /// <inheritdoc/>
    public override string Name => "portable";

    /// <inheritdoc/>
    public override bool IsSupported => true;

    /// <inheritdoc/>
    public override bool Serves(PackedWeight weight) => true;

    /// <inheritdoc/>
    public override int MaxRows(PackedWeight weight, int rows) => 16;

    /// <inheritdoc/>
    protected override int MostAtOnce(PackedWeight weight, int rows) => 512;

    /// <inheritdoc/>
    protected override void RunPart(FloatTileArgs* args, PackedWeight weight, int rows, int panels)
    {
        var values = weight.IsHalfByte ? 8 : 4;
        var numbers = stackalloc float[8 * Columns];
        var sums = stackalloc float[16 * Columns];
        new Span<float>(args->Result, rows * Columns).Clear();
        var codes = args->Weights;
        var x = args->Activations;
        for (nint tile = 0; tile < args->Tiles; tile++)
        {
            new Span<float>(sums, rows * Columns).Clear();
            for (nint group = 0; group < args->Groups; group++, codes += 64, x += values * rows)
            {
                Decode(codes, weight, numbers);
                for (var row = 0; row < rows; row++)
                    Accumulate(numbers, values, x + row, rows, sums + row * Columns);
            }
            AddScaled(sums, args->WeightScales + tile * Columns, args->Result, rows);
        }
    }

    private static void Decode(byte* codes, PackedWeight weight, float* numbers)
    {
        for (var i = 0; i < 64; i++)
        {
            var column = i / 4;
            var k = i % 4;
            switch (weight.Format)
            {
                case CodeFormat.Int8:
                    numbers[k * Columns + column] = (sbyte)codes[i];
                    break;
                case CodeFormat.Table8:
                    numbers[k * Columns + column] = weight.Table[codes[i]];
                    break;
                default:
                    numbers[k * Columns + column] = weight.Table[codes[i] & 15];
                    numbers[(k + 4) * Columns + column] = weight.Table[codes[i] >> 4];
                    break;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Accumulate(float* numbers, int values, float* x, int step, float* sums)
    {
        var a = Vector256.Load(sums);
        var b = Vector256.Load(sums + 8);
        for (var k = 0; k < values; k++)
        {
            var v = Vector256.Create(x[k * step]);
            a = Vector256.FusedMultiplyAdd(Vector256.Load(numbers + k * Columns), v, a);
            b = Vector256.FusedMultiplyAdd(Vector256.Load(numbers + k * Columns + 8), v, b);
        }
        a.Store(sums);
        b.Store(sums + 8);
    }

    private static void AddScaled(float* sums, float* scales, float* totals, int rows)
    {
        for (var i = 0; i < rows * Columns; i += 8)
            (Vector256.Load(totals + i) + Vector256.Load(sums + i) * Vector256.Load(scales + i % Columns)).Store(totals + i);
    }
}
