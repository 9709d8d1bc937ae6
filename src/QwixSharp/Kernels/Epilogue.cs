using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels;

/// <summary>The last step of a product: scale, bias, activation, store.</summary>
internal static unsafe class Epilogue
{
    private const int Columns = PackedWeight.PanelColumns;

    /// <summary>Takes a zero point of the activations out of int32 sums.</summary>
    /// <param name="sums">16 sums; changed.</param>
    /// <param name="columnSums">The sums of the weight's codes.</param>
    /// <param name="zeroPoint">The zero point.</param>
    public static void SubtractZeroPoint(int* sums, int* columnSums, int zeroPoint)
    {
        for (var i = 0; i < Columns; i += 8)
            (Vector256.Load(sums + i) - Vector256.Load(columnSums + i) * zeroPoint).Store(sums + i);
    }

    /// <summary>Takes a zero point of the activations out of scaled sums over tiles.</summary>
    /// <param name="sums">16 sums; changed.</param>
    /// <param name="weight">The weight.</param>
    /// <param name="panel">The panel of these sums.</param>
    /// <param name="scales">The row's scales, one a tile.</param>
    /// <param name="scaleStep">Their distance.</param>
    /// <param name="zeroPoint">The zero point.</param>
    public static void SubtractZeroPoint(float* sums, PackedWeight weight, int panel, float* scales, int scaleStep, int zeroPoint)
    {
        var columnSums = weight.ColumnSums(panel);
        var weightScales = weight.Scales(panel);
        for (var column = 0; column < Columns; column++)
        {
            var taken = 0.0;
            for (var tile = 0; tile < weight.Tiles; tile++)
                taken += (double)((long)zeroPoint * columnSums[tile * Columns + column]) * scales[tile * scaleStep] * weightScales[tile * Columns + column];
            sums[column] -= (float)taken;
        }
    }

    /// <summary>sums · weight scale · row scale, in place as float32.</summary>
    /// <param name="sums">16 int32 sums that become float32.</param>
    /// <param name="weightScales">16 scales.</param>
    /// <param name="rowScale">The row's scale.</param>
    public static void Scale(int* sums, float* weightScales, float rowScale)
    {
        for (var i = 0; i < Columns; i += 8)
            (Vector256.ConvertToSingle(Vector256.Load(sums + i)) * (Vector256.Load(weightScales + i) * rowScale)).Store((float*)sums + i);
    }

    /// <summary>Adds the bias, applies the activation and stores the columns of one panel and row.</summary>
    /// <param name="values">16 float32 values.</param>
    /// <param name="output">Where they go.</param>
    /// <param name="row">m.</param>
    /// <param name="column">The panel's first n.</param>
    /// <param name="count">How many columns exist: 16 but in the last panel.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Store(float* values, in ProductOutput output, int row, int column, int count)
    {
        var bias = output.BiasAt(column);
        var target = output.At(row, column);
        if (count == Columns)
        {
            for (var i = 0; i < Columns; i += 8)
            {
                var v = Vector256.Load(values + i);
                if (bias != null)
                    v += Vector256.Load(bias + i);
                Activate(v, output.Activation).Store(target + i);
            }
            return;
        }
        for (var i = 0; i < count; i++)
            target[i] = Activate(Vector256.CreateScalar(values[i] + (bias == null ? 0 : bias[i])), output.Activation).ToScalar();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Activate(Vector256<float> v, FusedActivation activation) => activation switch
    {
        FusedActivation.None => v,
        FusedActivation.Relu => Vector256.Max(v, Vector256<float>.Zero),
        _ => Vector256.Min(Vector256.Max(v, Vector256<float>.Zero), Vector256.Create(6f)),
    };
}
