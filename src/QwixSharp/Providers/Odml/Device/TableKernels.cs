using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml.Device;

/// <summary>
/// What LiteRT's int16 kernels look up in tables, with lines between the entries. int8 kernels look up every code, which is as exact as computing.
/// </summary>
internal static class TableKernels
{
    private const int Entries = 512;

    /// <summary>e^x from −10 to 0, and 1/(1 + x) from 0 to 1, for softmax.</summary>
    private static readonly Lazy<(long[] Exponential, long[] Reciprocal)> SoftmaxTables = new(() => (
        Table(ScalarType.Float64, 10.0 / 65535, 32767, 2.0 / 65535, x => x.exp()),
        Table(ScalarType.Float64, 1.0 / 65535, -32768, 2.0 / 65535, x => (x + 1).reciprocal())));

    private static readonly Lazy<long[]> Sigmoids = new(SigmoidTable);

    internal static Tensor? Gelu(DeviceOperand x, bool approximates, FakeQuantAnnotation output)
    {
        if (!Is16(x, output))
            return null;
        const float root = 0.7978845608f; // √(2 / π)
        Func<Tensor, Tensor> gelu = approximates
            ? t => t * 0.5f * (((t + (t * 0.044715f * t * t)) * root).tanh() + 1)
            : t => t * 0.5f * special.erfc(t * -MathF.Sqrt(0.5f));
        return DeviceCodes.Values(LookUp(x.IntegerSteps(), Table(ScalarType.Float32, x.Scale, 0, output.Scale[0], gelu)), output);
    }

    /// <summary>Sigmoid and tanh share a table of 256 sigmoids, 1/24 apart: tanh(x) = 2·sigmoid(2x) − 1.</summary>
    internal static Tensor? Sigmoid(DeviceOperand x, FakeQuantAnnotation output)
    {
        if (!Is16(x, output) || Scaled(x) is not { } scaled)
            return null;
        var line = Between(scaled.abs(), 9, 0x7FFFL << 10);
        var result = where(scaled.ge(0), line + (1L << 9), (1L << 25) - line + (1L << 9) - 1);
        return DeviceCodes.Values(FixedPoint.ShiftRight(result, 10), output);
    }

    internal static Tensor? Tanh(DeviceOperand x, FakeQuantAnnotation output)
    {
        if (!Is16(x, output) || Scaled(x) is not { } scaled)
            return null;
        var line = Between(scaled.abs(), 8, 0xFFFFL << 8);
        var result = where(scaled.ge(0), line - (1L << 23) + (1L << 7), (1L << 23) - line + (1L << 7) - 1);
        return DeviceCodes.Values(FixedPoint.ShiftRight(result, 8), output);
    }

    internal static Tensor? Softmax(DeviceOperand x, long axis, FakeQuantAnnotation output)
    {
        if (!Is16(x, output))
            return null;
        var steps = x.IntegerSteps();
        var differences = FixedPoint.Scale(steps - steps.amax([axis], keepdim: true), FixedPoint.Factor((double)x.Scale / (10.0 / 65535)));
        var exponentials = LookUp((differences + 32767).clamp(-32768, 32767), SoftmaxTables.Value.Exponential);
        var sum = exponentials.sum(axis, keepdim: true);
        // The sum as 1 + x times a power of two.
        var bits = sum.to(ScalarType.Float64).log2().floor().to(ScalarType.Int64);
        var shifted = FixedPoint.ShiftRight((sum * PowersOfTwo(30 - bits)) + (1L << 13), 14);
        var reciprocal = LookUp((shifted - ((1L << 15) + (1L << 16))).clamp(-32768, 32767), SoftmaxTables.Value.Reciprocal);
        var unit = PowersOfTwo(bits);
        return DeviceCodes.Values(FixedPoint.DivideUpwards(exponentials * reciprocal, unit).clamp(0, 32767), output);
    }

    private static bool Is16(DeviceOperand x, FakeQuantAnnotation output) => x.Codes.QType == QType.Int16 && output.QType == QType.Int16;

    private static Tensor PowersOfTwo(Tensor exponents) => exponents.to(ScalarType.Float64).exp2().round().to(ScalarType.Int64);

    /// <summary>513 values of a function of int16 codes, each moved by half of what the line to the next is off in the middle.</summary>
    /// <param name="precision">The type that the kernel computes the table in.</param>
    /// <param name="inputScale">The scale of the codes.</param>
    /// <param name="inputZeroPoint">Their zero point.</param>
    /// <param name="outputScale">The scale of the values.</param>
    /// <param name="function">The function.</param>
    private static long[] Table(ScalarType precision, double inputScale, int inputZeroPoint, double outputScale, Func<Tensor, Tensor> function)
    {
        using var scope = NewDisposeScope();
        Tensor Number(double value) => tensor(value).to(precision);
        var (scale, unit) = (Number(inputScale), Number(outputScale));
        Tensor lowest = scale * (-32768 - inputZeroPoint), highest = scale * (32767 - inputZeroPoint), step = (highest - lowest) / Entries;
        var perUnit = Number(65536) / ((unit * 32767) - (unit * -32768));
        var places = lowest + (arange(Entries + 1).to(precision) * step);
        Tensor values = function(places) * perUnit, middles = FixedPoint.RoundAway(function(places + (step / 2)) * perUnit);
        var samples = FixedPoint.RoundAway(values);
        var bias = FixedPoint.RoundAway((FixedPoint.RoundAway((values[1..] + samples[..Entries]) / 2) - middles[..Entries]) / 2);
        var last = FixedPoint.RoundAway(function(highest.reshape(1)) * perUnit);
        return cat([samples[..Entries] - bias, last]).clamp(-32768, 32767).to(ScalarType.Int64).data<long>().ToArray();
    }

    private static Tensor LookUp(Tensor codes, long[] table)
    {
        var entries = tensor(table);
        var cell = FixedPoint.ShiftRight(codes, 7);
        var index = cell + 256;
        Tensor start = entries.take(index), slope = entries.take(index + 1) - start;
        return start + FixedPoint.ShiftRight((slope * (codes - (cell * 128))) + 64, 7);
    }

    /// <summary>The operand in steps of 1/(3 · 4096); null for scales that are powers of two, which have a path of their own.</summary>
    private static Tensor? Scaled(DeviceOperand x)
    {
        if (double.IsPow2(x.Scale))
            return null;
        double multiplier = x.Scale * 4096.0 * 3.0;
        int shift = 0;
        for (; multiplier <= 32767 / 2.0 && shift <= 30; shift++)
            multiplier *= 2;
        return FixedPoint.ShiftRight((x.IntegerSteps() * (long)multiplier) + (shift > 0 ? 1L << (shift - 1) : 0), shift);
    }

    /// <summary>The line between two sigmoids, where the operand is; beyond the last of them a number of its own.</summary>
    private static Tensor Between(Tensor magnitudes, int bits, long beyond)
    {
        var entries = tensor(Sigmoids.Value);
        var entry = FixedPoint.ShiftRight(magnitudes, bits);
        var inside = entry.clamp(0, 254);
        var start = entries.take(inside);
        var line = (start * (1L << bits)) + ((magnitudes - (entry * (1L << bits))) * (entries.take(inside + 1) - start));
        return where(entry.ge(255), full_like(line, beyond), line);
    }

    /// <summary>Sigmoids in 16 bits, each moved by half of what the line to the next is off in the middle.</summary>
    private static long[] SigmoidTable()
    {
        static double Sigmoid(double x) => 65536 / (1 + Math.Exp(-x / 24));
        var table = new long[256];
        for (int i = 0; i < 256; i++)
            table[i] = (long)Math.Round(Sigmoid(i) + ((Sigmoid(i + 0.5) - ((Sigmoid(i) + Sigmoid(i + 1)) / 2)) / 2), MidpointRounding.AwayFromZero);
        table[255] = 65535;
        return table;
    }
}
