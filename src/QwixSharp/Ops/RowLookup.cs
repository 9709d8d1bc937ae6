using QwixSharp.Arrays;
using QwixSharp.Kernels.Weights;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>Rows of a quantized table as numbers: only those that are asked for are dequantized.</summary>
internal static class RowLookup
{
    /// <summary>Takes rows.</summary>
    /// <param name="table">[rows, features].</param>
    /// <param name="indices">int64, [count].</param>
    /// <returns>[count, features]; a new tensor.</returns>
    /// <exception cref="ArgumentException">An index is no row of the table.</exception>
    internal static Tensor Take(QArray table, Tensor indices)
    {
        using var scope = NewDisposeScope();
        // An output layer tied to the table may have left it in the kernels' form alone. There the levels of nf4 are float32, but a table of
        // 16 bits has them rounded.
        bool roundsLevels = table.QType.Kind == QTypeKind.NormalFloat && table.Dtype != ScalarType.Float32;
        if (!roundsLevels && table.FindKernelForm<PackedForm>() is { } form)
            return FromPacked(form.Weight, indices).to(table.Dtype).MoveToOuterDisposeScope();
        Tensor Rows(Tensor part) => part.shape[0] == 1 ? part.alias() : part.index_select(0, indices);
        var rows = new QArray(table.QType, [indices.shape[0], table.Shape[1]], table.Codes.index_select(0, indices), Rows(table.Scale), table.ZeroPoint is null ? null : Rows(table.ZeroPoint));
        return rows.Dequantize().MoveToOuterDisposeScope();
    }

    private static unsafe Tensor FromPacked(PackedWeight weight, Tensor indices)
    {
        var contiguous = indices.to(ScalarType.Int64).contiguous();
        var index = new ReadOnlySpan<long>((void*)TensorMemory.Address(contiguous), checked((int)contiguous.numel()));
        var rows = empty([index.Length, weight.Depth], dtype: ScalarType.Float32);
        float* row = (float*)TensorMemory.Address(rows);
        foreach (long i in index)
        {
            if (i < 0 || i >= weight.Rows)
                throw new ArgumentException($"Index {i} is no row of a table of {weight.Rows}.", nameof(indices));
            weight.DequantizeRow((int)i, row);
            row += weight.Depth;
        }

        return rows;
    }
}
