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
    /// <param name="sums">[rows][16] int32 sums that become float32.</param>
    /// <param name="rows">How many rows.</param>
    /// <param name="weightScales">16 scales.</param>
    /// <param name="rowScales">The rows' scales.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Scale(int* sums, int rows, float* weightScales, float* rowScales)
    {
        var left = Vector256.Load(weightScales);
        var right = Vector256.Load(weightScales + 8);
        for (var row = 0; row < rows; row++, sums += Columns)
        {
            var scale = Vector256.Create(rowScales[row]);
            (Vector256.ConvertToSingle(Vector256.Load(sums)) * (left * scale)).Store((float*)sums);
            (Vector256.ConvertToSingle(Vector256.Load(sums + 8)) * (right * scale)).Store((float*)sums + 8);
        }
    }

    /// <summary><see cref="Scale"/> and <see cref="Store"/> in one pass, for a whole panel.</summary>
    /// <param name="sums">[rows][16] int32 sums.</param>
    /// <param name="rows">How many rows.</param>
    /// <param name="weightScales">16 scales.</param>
    /// <param name="rowScales">The rows' scales.</param>
    /// <param name="output">Where they go.</param>
    /// <param name="row">The first m.</param>
    /// <param name="column">The panel's first n.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void ScaleAndStore(int* sums, int rows, float* weightScales, float* rowScales, in ProductOutput output, int row, int column)
    {
        var bias = output.BiasAt(column);
        var target = output.At(row, column);
        var stride = output.RowStride;
        var activation = output.Activation;
        var left = Vector256.Load(weightScales);
        var right = Vector256.Load(weightScales + 8);
        var biasLeft = bias == null ? Vector256<float>.Zero : Vector256.Load(bias);
        var biasRight = bias == null ? Vector256<float>.Zero : Vector256.Load(bias + 8);
        for (var i = 0; i < rows; i++, sums += Columns, target += stride)
        {
            var scale = Vector256.Create(rowScales[i]);
            var first = Vector256.ConvertToSingle(Vector256.Load(sums)) * (left * scale) + biasLeft;
            var second = Vector256.ConvertToSingle(Vector256.Load(sums + 8)) * (right * scale) + biasRight;
            if (activation != FusedActivation.None)
            {
                first = Activate(first, activation);
                second = Activate(second, activation);
            }
            first.Store(target);
            second.Store(target + 8);
        }
    }

    /// <summary>Adds up the planes of each row.</summary>
    /// <param name="values">[rows][plane][16]; becomes [rows][16].</param>
    /// <param name="rows">How many rows.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddPlanes(float* values, int rows)
    {
        var target = values;
        for (var row = 0; row < rows; row++, values += 3 * Columns, target += Columns)
            for (var i = 0; i < Columns; i += 8)
                (Vector256.Load(values + i) + (Vector256.Load(values + Columns + i) + Vector256.Load(values + 2 * Columns + i))).Store(target + i);
    }

    /// <summary>Adds the bias, applies the activation and stores the columns of one panel.</summary>
    /// <param name="values">[rows][16] float32 values.</param>
    /// <param name="rows">How many rows.</param>
    /// <param name="output">Where they go.</param>
    /// <param name="row">The first m.</param>
    /// <param name="column">The panel's first n.</param>
    /// <param name="count">How many columns exist: 16 but in the last panel.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Store(float* values, int rows, in ProductOutput output, int row, int column, int count)
    {
        var bias = output.BiasAt(column);
        var target = output.At(row, column);
        var stride = output.RowStride;
        var activation = output.Activation;
        if (count < Columns || output.ColumnStride != 1)
        {
            StoreColumns(values, rows, bias, activation, target, stride, output.ColumnStride, count);
            return;
        }
        var biasLeft = bias == null ? Vector256<float>.Zero : Vector256.Load(bias);
        var biasRight = bias == null ? Vector256<float>.Zero : Vector256.Load(bias + 8);
        for (var i = 0; i < rows; i++, values += Columns, target += stride)
        {
            var left = Vector256.Load(values) + biasLeft;
            var right = Vector256.Load(values + 8) + biasRight;
            if (activation != FusedActivation.None)
            {
                left = Activate(left, activation);
                right = Activate(right, activation);
            }
            left.Store(target);
            right.Store(target + 8);
        }
    }

    /// <summary>Column by column: the rows of a column lie side by side when an image has its channels first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void StoreColumns(float* values, int rows, float* bias, FusedActivation activation, float* target, long rowStride, long columnStride, int count)
    {
        for (var column = 0; column < count; column++, target += columnStride)
        {
            var added = bias == null ? 0 : bias[column];
            for (var row = 0; row < rows; row++)
            {
                var value = values[row * Columns + column] + added;
                target[row * rowStride] = activation switch
                {
                    FusedActivation.None => value,
                    FusedActivation.Relu => MathF.Max(value, 0),
                    _ => MathF.Min(MathF.Max(value, 0), 6),
                };
            }
        }
    }

    private static Vector256<float> Activate(Vector256<float> v, FusedActivation activation) => activation switch
    {
        FusedActivation.None => v,
        FusedActivation.Relu => Vector256.Max(v, Vector256<float>.Zero),
        _ => Vector256.Min(Vector256.Max(v, Vector256<float>.Zero), Vector256.Create(6f)),
    };
}
