using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>Indexes the parts of a QArray together.</summary>
internal static class QArrayIndexing
{
    internal static QArray Take(QArray array, QIndex[] index)
    {
        using var scope = NewDisposeScope();
        var full = Complete(array, index);
        var codes = Take(array, array.GetQValue(), full);
        var scale = Take(array, array.Scale.alias(), full);
        var zeroPoint = array.ZeroPoint is null ? null : Take(array, array.ZeroPoint.alias(), full);
        return new QArray(array.QType, codes.shape, CodePacking.Pack(codes, array.QType), scale, zeroPoint).MoveToOuterDisposeScope();
    }

    /// <summary>The index with an entry for every axis.</summary>
    private static List<QIndex> Complete(QArray array, QIndex[] index)
    {
        int named = index.Count(i => i.Kind is QIndex.QIndexKind.Number or QIndex.QIndexKind.Range);
        int ellipses = index.Count(i => i.Kind == QIndex.QIndexKind.Ellipsis);
        if (named > array.Rank || ellipses > 1)
            throw new ArgumentException($"An array of {array.Rank} axes cannot take {named} indices{(ellipses > 1 ? " and more than one ellipsis" : "")}.", nameof(index));
        var rest = Enumerable.Repeat(QIndex.All, array.Rank - named);
        List<QIndex> full = [.. index.SelectMany(i => i.Kind == QIndex.QIndexKind.Ellipsis ? rest : [i])];
        if (ellipses == 0)
            full.AddRange(rest);
        return full;
    }

    /// <summary>Applies a complete index to one part, whose axes may be shorter than the array's.</summary>
    private static Tensor Take(QArray array, Tensor part, List<QIndex> index)
    {
        int arrayAxis = 0, partAxis = 0;
        foreach (var entry in index)
        {
            if (entry.Kind == QIndex.QIndexKind.NewAxis)
            {
                part = part.unsqueeze(partAxis++);
                continue;
            }

            long length = array.Shape[arrayAxis], tile = length / part.shape[partAxis];
            if (entry.Kind == QIndex.QIndexKind.Number)
            {
                long number = entry.Number < 0 ? entry.Number + length : entry.Number;
                if (number < 0 || number >= length)
                    throw new ArgumentException($"Index {entry.Number} is out of range for axis {arrayAxis} of length {length}.");
                part = part.select(partAxis, number / tile);
            }
            else
            {
                var (start, count) = Bounds(entry, length, arrayAxis);
                part = Narrow(part, partAxis, start, count, tile, arrayAxis);
                partAxis++;
            }

            arrayAxis++;
        }

        return part;
    }

    private static (long Start, long Count) Bounds(QIndex entry, long length, int axis)
    {
        long start = entry.Range.Start.IsFromEnd ? length - entry.Range.Start.Value : entry.Range.Start.Value;
        long end = entry.Range.End.IsFromEnd ? length - entry.Range.End.Value : entry.Range.End.Value;
        if (start < 0 || end > length || end <= start)
            throw new ArgumentException($"The range {entry.Range} is empty or out of range for axis {axis} of length {length}.");
        return (start, end - start);
    }

    private static Tensor Narrow(Tensor part, int axis, long start, long count, long tile, int arrayAxis)
    {
        if (start / tile == (start + count - 1) / tile)
            return part.narrow(axis, start / tile, tile == 1 ? count : 1); // within one tile, or a single value
        if (start % tile != 0 || count % tile != 0)
            throw new ArgumentException($"A range of axis {arrayAxis} must begin and end at a multiple of its tile size {tile}, or lie within one tile.");
        return part.narrow(axis, start / tile, count / tile);
    }
}
