using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Passes;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>The largest magnitude of an image.</summary>
internal static unsafe class Magnitude
{
    private const int Part = 16384;

    /// <summary>Finds it.</summary>
    /// <param name="values">The values.</param>
    /// <param name="count">How many.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <returns>The largest magnitude; NaN if any value is NaN.</returns>
    public static float Of(float* values, long count, int threads)
    {
        // As integers: magnitudes are in the same order, and NaN lies above infinity.
        var largest = 0;
        RowsJob.Run((count + Part - 1) / Part, Part, threads, part =>
        {
            var own = BitConverter.SingleToInt32Bits(RowQuantizer.AbsMax(values + part * Part, Math.Min(Part, count - part * Part)));
            for (var seen = Volatile.Read(ref largest); own > seen;)
            {
                var before = Interlocked.CompareExchange(ref largest, own, seen);
                if (before == seen)
                    break;
                seen = before;
            }
        });
        return BitConverter.Int32BitsToSingle(largest);
    }
}
