using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml.Device;

/// <summary>Softmax in floating point, as XNNPACK computes it: with an exponential of its own, whose last bits are not those of libtorch's.</summary>
internal static class FloatSoftmax
{
    /// <summary>1.5 · 2^23 with 127 in its low bits: added to a number it leaves there the whole part, as the exponent of a power of two.</summary>
    private const float Shifter = 12583039f;

    private const float PerOctave = 1.4426950408889634f;

    /// <summary>ln 2 in two parts, the first of few bits: whole multiples of it are exact.</summary>
    private const float OctaveHigh = 0.693145751953125f, OctaveLow = 1.42860677e-6f;

    /// <summary>Below this the result would have less than 24 bits, and is 0.</summary>
    private const float Lowest = -87.33654f;

    /// <summary>e^t of −½ ln 2 to ½ ln 2, from the fifth power down to the first.</summary>
    private static readonly float[] Powers = [0.008289291f, 0.041897822f, 0.16667652f, 0.4999915f, 0.9999997f];

    internal static DeviceKernel Of(OdmlRun run, Tensor x, long axis)
    {
        var kept = run.Own(x.alias());
        return output =>
        {
            using var scope = NewDisposeScope();
            using var rows = kept.transpose(axis, -1).cpu().contiguous().clone();
            var values = MemoryMarshal.Cast<byte, float>(rows.bytes);
            int length = (int)rows.shape[^1];
            for (int start = 0; start < values.Length; start += length)
                Compute(values.Slice(start, length));
            return DeviceRounding.FakeQuantize(rows.transpose(axis, -1).to(kept.device), output).MoveToOuterDisposeScope();
        };
    }

    private static void Compute(Span<float> row)
    {
        float largest = row[0];
        foreach (float value in row)
            largest = MathF.Max(largest, value);
        foreach (ref float value in row)
            value = Exponential(value - largest);
        float share = 1 / Sum(row);
        foreach (ref float value in row)
            value *= share;
    }

    private static float Exponential(float x)
    {
        float shifted = (x * PerOctave) + Shifter;
        float scale = BitConverter.Int32BitsToSingle(BitConverter.SingleToInt32Bits(shifted) << 23);
        float octaves = shifted - Shifter;
        float rest = (octaves * -OctaveHigh) + x;
        rest = (octaves * -OctaveLow) + rest;
        float power = Powers[0];
        foreach (float next in Powers.AsSpan(1))
            power = (power * rest) + next;
        rest *= scale;
        return x < Lowest ? 0 : (rest * power) + scale;
    }

    /// <summary>Four numbers at a time; what is left over comes behind, two of them as a pair.</summary>
    private static float Sum(ReadOnlySpan<float> row)
    {
        Span<float> lanes = stackalloc float[4];
        lanes.Clear();
        int fours = row.Length / 4 * 4;
        for (int i = 0; i < fours; i++)
            lanes[i % 4] += row[i];
        float sum = (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
        var rest = row[fours..];
        if (rest.Length >= 2)
            sum += rest[0] + rest[1];
        return rest.Length % 2 == 1 ? sum + rest[^1] : sum;
    }
}
