using QwixSharp.Kernels.Passes;

namespace QwixSharp.Arrays;

/// <summary>Sees an array as rows for the passes of the kernels, where its scales follow its memory.</summary>
internal static class RowLayout
{
    /// <summary>The array as rows that have a scale, or one a tile, each.</summary>
    /// <param name="shape">The shape of the array.</param>
    /// <param name="scaleShape">The shape of its scales.</param>
    /// <returns>
    /// The rows: the leading axes that are per channel; the others have one scale, or tiles where only the last is left.
    /// Null where scales do not follow memory.
    /// </returns>
    internal static RowShape? Of(ReadOnlySpan<long> shape, ReadOnlySpan<long> scaleShape)
    {
        int last = shape.Length - 1, first = 0;
        while (first < shape.Length && scaleShape[first] == shape[first])
            first++;
        long rows = 1, columns = 1;
        for (int axis = 0; axis < shape.Length; axis++)
        {
            bool tiledLast = axis == last && first == last;
            if (axis >= first && scaleShape[axis] != 1 && !tiledLast)
                return null;
            if (axis < first)
                rows *= shape[axis];
            else
                columns *= shape[axis];
        }

        return new RowShape(rows, columns, first == last ? columns / scaleShape[last] : Math.Max(columns, 1));
    }
}
