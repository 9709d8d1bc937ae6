using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
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
        for (var column = 0; column < Columns; column++)
        {
            var taken = 0.0;
            for (var tile = 0; tile < weight.Tiles; tile++)
                taken += (double)((long)zeroPoint * columnSums[tile * Columns + column]) * scales[tile * scaleStep] * weight.TileScale(panel * Columns + column, tile);
            sums[column] -= (float)taken;
        }
    }

    /// <summary>sums · row scale · weight scale in this order, which is the reference's, in place as float32.</summary>
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
            (Vector256.ConvertToSingle(Vector256.Load(sums)) * scale * left).Store((float*)sums);
            (Vector256.ConvertToSingle(Vector256.Load(sums + 8)) * scale * right).Store((float*)sums + 8);
        }
    }

    /// <summary><see cref="Scale"/>, but sums and products are rounded to bfloat16 one by one, as tensor arithmetic on bfloat16 does.</summary>
    /// <param name="sums">[rows][16] int32 sums that become float32.</param>
    /// <param name="rows">How many rows.</param>
    /// <param name="weightScales">16 scales.</param>
    /// <param name="rowScales">The rows' scales.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void ScaleInBFloat16(int* sums, int rows, float* weightScales, float* rowScales)
    {
        for (var row = 0; row < rows; row++, sums += Columns)
        {
            var scale = Vector256.Create(rowScales[row]);
            for (var i = 0; i < Columns; i += 8)
            {
                var value = FloatConversion.RoundToBFloat16(Vector256.ConvertToSingle(Vector256.Load(sums + i)));
                value = FloatConversion.RoundToBFloat16(value * scale);
                FloatConversion.RoundToBFloat16(value * Vector256.Load(weightScales + i)).Store((float*)sums + i);
            }
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
            var first = Vector256.ConvertToSingle(Vector256.Load(sums)) * scale * left + biasLeft;
            var second = Vector256.ConvertToSingle(Vector256.Load(sums + 8)) * scale * right + biasRight;
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
        if (output.Format != FloatFormat.Float32)
        {
            StoreNarrow(values, rows, output, row, column, count);
            return;
        }
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

    /// <summary><see cref="Store"/> into a format of two bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void StoreNarrow(float* values, int rows, in ProductOutput output, int row, int column, int count)
    {
        var bias = stackalloc float[Columns];
        for (var i = 0; i < count; i++)
            bias[i] = output.Bias == 0 ? 0 : output.BiasAt(column)[i];
        var narrow = stackalloc ushort[Columns];
        for (var i = 0; i < rows; i++, values += Columns)
        {
            Activate(Vector256.Load(values) + Vector256.Load(bias), output.Activation).Store(values);
            Activate(Vector256.Load(values + 8) + Vector256.Load(bias + 8), output.Activation).Store(values + 8);
            FloatConversion.Narrow(values, output.Format, Columns, narrow);
            var target = output.NarrowAt(row + i, column);
            if (output.ColumnStride == 1)
                new ReadOnlySpan<ushort>(narrow, count).CopyTo(new Span<ushort>(target, count));
            else
                for (var c = 0; c < count; c++)
                    target[c * output.ColumnStride] = narrow[c];
        }
    }

    /// <summary>Column by column: the rows of a column lie side by side when an image has its channels first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void StoreColumns(float* values, int rows, float* bias, FusedActivation activation, float* target, long rowStride, long columnStride, int count)
    {
        var column = 0;
        if (Sse.IsSupported && rowStride == 1)
            for (; column + 4 <= count; column += 4)
                StoreFourColumns(values + column, rows, bias == null ? null : bias + column, activation, target + column * columnStride, columnStride);
        for (; column < count; column++)
        {
            var added = bias == null ? 0 : bias[column];
            for (var row = 0; row < rows; row++)
                target[column * columnStride + row * rowStride] = Activate(Vector128.CreateScalar(values[row * Columns + column] + added), activation).ToScalar();
        }
    }

    /// <summary>Four columns of rows that lie side by side, as transposes of four by four.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void StoreFourColumns(float* values, int rows, float* bias, FusedActivation activation, float* target, long stride)
    {
        var added = bias == null ? Vector128<float>.Zero : Vector128.Load(bias);
        var row = 0;
        for (; row + 4 <= rows; row += 4, values += 4 * Columns)
        {
            var r0 = Activate(Vector128.Load(values) + added, activation);
            var r1 = Activate(Vector128.Load(values + Columns) + added, activation);
            var r2 = Activate(Vector128.Load(values + 2 * Columns) + added, activation);
            var r3 = Activate(Vector128.Load(values + 3 * Columns) + added, activation);
            var low = Sse.UnpackLow(r0, r1);
            var low2 = Sse.UnpackLow(r2, r3);
            var high = Sse.UnpackHigh(r0, r1);
            var high2 = Sse.UnpackHigh(r2, r3);
            Sse.MoveLowToHigh(low, low2).Store(target + row);
            Sse.MoveHighToLow(low2, low).Store(target + stride + row);
            Sse.MoveLowToHigh(high, high2).Store(target + 2 * stride + row);
            Sse.MoveHighToLow(high2, high).Store(target + 3 * stride + row);
        }
        for (; row < rows; row++, values += Columns)
        {
            var v = Activate(Vector128.Load(values) + added, activation);
            for (var column = 0; column < 4; column++)
                target[column * stride + row] = v.GetElement(column);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Activate(Vector128<float> v, FusedActivation activation) => activation switch
    {
        FusedActivation.None => v,
        FusedActivation.Relu => Vector128.Max(v, Vector128<float>.Zero),
        _ => Gelu.Of(v),
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Activate(Vector256<float> v, FusedActivation activation) => activation switch
    {
        FusedActivation.None => v,
        FusedActivation.Relu => Vector256.Max(v, Vector256<float>.Zero),
        _ => Gelu.Of(v),
    };
}
