using System.Runtime.CompilerServices;
using QwixSharp.Interception;
using QwixSharp.Providers.OpMap;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml.Device;

/// <summary>Which averages LiteRT takes of codes. The exporter writes the others in floating point.</summary>
internal static class AverageForms
{
    /// <summary>Whether all windows of a pool are of one size, or an image is interpolated along two axes, by lines.</summary>
    internal static bool IsInteger(in OpCall call, Tensor source, Tensor average, string name)
    {
        if (name.StartsWith("adaptive", StringComparison.Ordinal))
            return source.shape.Zip(average.shape).All(s => s.First % s.Second == 0);
        return name.StartsWith("avg", StringComparison.Ordinal)
            ? PoolsWhole(call, source, average, axes: name.EndsWith("1d", StringComparison.Ordinal) ? 1 : 2)
            : !call.Arguments.OfType<InterpolationMode>().Any(mode => mode != InterpolationMode.Bilinear);
    }

    /// <summary>Whether no window of a pool reaches into padding that it does not count, or LiteRT's SAME means this padding.</summary>
    private static bool PoolsWhole(in OpCall call, Tensor source, Tensor average, int axes)
    {
        long[] kernel = Numbers(Arguments.Named(call, "kernel_size"), axes, []), stride = Numbers(Arguments.Named(call, "stride"), axes, kernel), padding = Numbers(Arguments.Named(call, "padding"), axes, new long[axes]);
        bool counts = Arguments.Named(call, "count_include_pad") is not false, isSame = true, isWhole = true;
        for (int i = 0; i < axes; i++)
        {
            long size = source.shape[^(axes - i)], outputs = average.shape[^(axes - i)], reach = ((outputs - 1) * stride[i]) + kernel[i] - padding[i];
            long steps = (size + stride[i] - 1) / stride[i], total = Math.Max(0, ((steps - 1) * stride[i]) + kernel[i] - size);
            isSame &= outputs == steps && padding[i] == total / 2 && (!counts || padding[i] == 0);
            isWhole &= counts ? reach <= size + padding[i] : padding[i] == 0 && reach <= size;
        }

        return isSame || isWhole;
    }

    private static long[] Numbers(object? argument, int axes, long[] otherwise) => argument switch
    {
        long number => [.. Enumerable.Repeat(number, axes)],
        long[] { Length: 1 } one => [.. Enumerable.Repeat(one[0], axes)],
        long[] { Length: > 0 } numbers => numbers,
        ITuple tuple => [.. Enumerable.Range(0, tuple.Length).Select(i => (long)tuple[i]!)],
        _ => otherwise,
    };
}
