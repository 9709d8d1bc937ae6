namespace QwixSharp.Arrays;

/// <summary>
/// Pairs runs of old axes with runs of new axes of as many elements, for instance (2, 2, 6) → (4, 3, 2) as
/// (2, 2) → (4) and (6) → (3, 2), so that scales can follow a reshape.
/// </summary>
internal static class ReshapeGroups
{
    internal static List<(long[] Old, long[] New)> Pair(long[] oldShape, long[] newShape)
    {
        List<(long[], long[])> groups = [];
        List<long> old = [], target = [];
        long oldProduct = 1, newProduct = 1;
        int i = 0, j = 0;
        while (i < oldShape.Length || j < newShape.Length)
        {
            bool takeOld = oldProduct != newProduct
                ? oldProduct < newProduct
                : i < oldShape.Length && (j >= newShape.Length || oldShape[i] <= newShape[j]);
            if (takeOld)
            {
                oldProduct *= oldShape[i];
                old.Add(oldShape[i++]);
            }
            else
            {
                newProduct *= newShape[j];
                target.Add(newShape[j++]);
            }

            if (oldProduct != newProduct)
                continue;
            groups.Add(([.. old], [.. target]));
            old.Clear();
            target.Clear();
            oldProduct = newProduct = 1;
        }

        return groups;
    }

    /// <summary>The new shape of a part (codes, scale, zero point) whose shape divides the array's old one.</summary>
    internal static long[] Apply(List<(long[] Old, long[] New)> groups, long[] partShape, long[] oldShape, long[] newShape)
    {
        List<long> result = [];
        int i = 0;
        foreach (var (old, target) in groups)
        {
            var part = partShape.AsSpan(i, old.Length);
            i += old.Length;
            long size = 1;
            foreach (long n in part)
                size *= n;
            if (part.SequenceEqual(old))
                result.AddRange(target);
            else if (size == 1)
                result.AddRange(target.Select(_ => 1L));
            else if (size == part[0] && target.Length > 0 && target[0] % part[0] == 0)
                result.AddRange([part[0], .. target.Skip(1).Select(_ => 1L)]); // scales of the outermost axis stay apart
            else
                throw new ArgumentException($"Cannot reshape {HowToQuantize.Format(oldShape)} into {HowToQuantize.Format(newShape)}: its scales {HowToQuantize.Format(partShape)} do not fit the new axes. Dequantize first.");
        }

        return [.. result];
    }
}
