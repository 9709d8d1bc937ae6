using QwixSharp.Interception;
using QwixSharp.Numerics;
using QwixSharp.Providers.OpMap;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml.Device;

/// <summary>Sums, differences, products, maxima and minima, leaky ReLU and means.</summary>
internal static class ElementwiseKernels
{
    /// <summary>Before XNNPACK leaves an op to other kernels, the ratio of its scales has to be far out.</summary>
    private const float Least = 1f / 1024, Most = 256;

    internal static DeviceKernel? Of(OdmlRun run, in OpCall call, string name, object?[] arguments)
    {
        if (DeviceKernels.Number(Arguments.Named(call, "alpha")) is not (null or 1))
            return null;
        bool reciprocal = name == "div";
        if (Operand(run, arguments[0], false) is not { } a || Operand(run, arguments[1], reciprocal) is not { } b || (reciprocal && b.Known is not null))
            return null;
        if (a.Known is null && b.Known is null)
            return null;
        return output =>
        {
            var (left, right) = (a.For(output), b.For(output));
            if (left.Codes.QType != output.QType || right.Codes.QType != output.QType)
                return null;
            var steps = (name, output.QType == QType.Int16) switch
            {
                ("add" or "sub", _) when !AddsCodes(left.Scale, right.Scale, output.Scale[0], output.QType == QType.Int16) => null,
                ("add", false) => Sum(left, right, 1, output),
                ("sub", false) => Sum(left, right, -1, output),
                ("add", true) => Sum16(left, right, 1, output),
                ("sub", true) => Sum16(left, right, -1, output),
                (_, false) => Product(left, right, output),
                (_, true) => Product16(left, right, output),
            };
            return steps is null ? null : DeviceCodes.Values(steps, output);
        };
    }

    /// <summary>The larger or smaller of two, which are first brought to the output's codes. The file has constants in these.</summary>
    internal static DeviceKernel? Extreme(OdmlRun run, object?[] arguments, Func<Tensor, Tensor, Tensor> choose)
    {
        if (DeviceKernels.Operand(run, arguments[0]) is not { } a || DeviceKernels.Operand(run, arguments[1]) is not { } b)
            return null;
        bool[] isConstant = [.. arguments.Take(2).Select(x => run.Tags[(Tensor)x!] is { IsConstant: true })];
        return output =>
        {
            if (a.Codes.QType != output.QType || b.Codes.QType != output.QType)
                return null;
            Tensor Codes(DeviceOperand x, bool constant) => constant ? DeviceCodes.Steps(x.Values, output).to(ScalarType.Int64) : Requantized(x, output);
            return DeviceCodes.Values(choose(Codes(a, isConstant[0]), Codes(b, isConstant[1])), output);
        };
    }

    /// <summary>Codes as others.</summary>
    internal static Tensor? Requantize(DeviceOperand x, FakeQuantAnnotation output) =>
        x.Codes.QType == output.QType ? DeviceCodes.Values(Requantized(x, output), output) : null;

    internal static Tensor? LeakyRelu(DeviceOperand x, float slope, FakeQuantAnnotation output)
    {
        if (x.Codes.QType != output.QType)
            return null;
        float scale = x.Scale / output.Scale[0];
        var steps = x.IntegerSteps();
        Tensor positive, negative;
        if (output.QType == QType.Int16)
        {
            positive = FixedPoint.Scale(steps, FixedPoint.Factor(scale));
            negative = FixedPoint.Scale(steps, FixedPoint.Factor((double)(x.Scale * slope / output.Scale[0])));
        }
        else
        {
            // XNNPACK's factors have 8 bits behind the point.
            if (scale < 1f / 256 || scale > 128 || Math.Abs(scale * slope) is < 1f / 256 or > 127)
                return null;
            positive = Times256th(steps, scale);
            negative = Times256th(steps, scale * slope);
        }

        return DeviceCodes.Values(where(steps.ge(0), positive, negative), output);
    }

    /// <summary>LiteRT's kernel takes the division into the factor. XNNPACK has that for int8, in floating point.</summary>
    internal static Tensor? Mean(DeviceOperand x, Func<Tensor, Tensor> mean, FakeQuantAnnotation output)
    {
        if (output.QType != QType.Int16 || x.Codes.QType != QType.Int16)
            return null;
        var average = mean(x.Steps());
        long count = x.Values.NumberOfElements / average.NumberOfElements;
        var (multiplier, shift) = FixedPoint.Factor(x.Scale / (double)output.Scale[0]);
        int more = Math.Min(Math.Min((int)Math.Log2(count), 32), 31 + shift);
        return DeviceCodes.Values(FixedPoint.Scale((average * count).round().to(ScalarType.Int64), ((multiplier << more) / count, shift - more)), output);
    }

    /// <summary>
    /// Whether LiteRT adds codes with these scales: its kernel aborts where the sums, which have 15 or 20 bits behind the point of the larger scale, are to be
    /// multiplied by one or more for the output's.
    /// </summary>
    internal static bool AddsCodes(float a, float b, float output, bool isInt16) => 2 * Math.Max(a, b) / ((1 << (isInt16 ? 15 : 20)) * output) < 0.999f;

    /// <summary>XNNPACK: both factors have 21 bits, and the sum is rounded once, upwards at ties.</summary>
    internal static Tensor? Sum(DeviceOperand a, DeviceOperand b, int sign, FakeQuantAnnotation output)
    {
        float ratioA = a.Scale / output.Scale[0], ratioB = b.Scale / output.Scale[0], larger = Math.Max(ratioA, ratioB);
        if (Math.Min(ratioA, ratioB) < Least || larger >= Most)
            return null;
        int shift = 20 - MathF.ILogB(larger);
        long factorA = (long)Math.Round(Math.ScaleB((double)ratioA, shift)), factorB = sign * (long)Math.Round(Math.ScaleB((double)ratioB, shift));
        return FixedPoint.ShiftRight((a.IntegerSteps() * factorA) + (b.IntegerSteps() * factorB) + (1L << (shift - 1)), shift);
    }

    /// <summary>Both operands are brought to half of the larger's scale, with 15 bits behind the point.</summary>
    internal static Tensor Sum16(DeviceOperand a, DeviceOperand b, int sign, FakeQuantAnnotation output)
    {
        double twice = 2 * Math.Max(a.Scale, b.Scale);
        Tensor Scaled(DeviceOperand x) => FixedPoint.Scale(x.IntegerSteps() * (1L << 15), FixedPoint.Factor(x.Scale / twice));
        return FixedPoint.Scale(Scaled(a) + (Scaled(b) * sign), FixedPoint.Factor(twice / ((1 << 15) * (double)output.Scale[0])));
    }

    /// <summary>XNNPACK scales in floating point, and takes ties to even codes.</summary>
    internal static Tensor? Product(DeviceOperand a, DeviceOperand b, FakeQuantAnnotation output)
    {
        float scale = a.Scale * b.Scale / output.Scale[0];
        if (scale is < 1f / 65536 or >= Most)
            return null;
        return ((a.Steps() * b.Steps()).to(ScalarType.Float32) * scale).round();
    }

    /// <summary>In fixed point.</summary>
    internal static Tensor Product16(DeviceOperand a, DeviceOperand b, FakeQuantAnnotation output) =>
        FixedPoint.Scale(a.IntegerSteps() * b.IntegerSteps(), FixedPoint.Factor((double)(a.Scale * b.Scale / output.Scale[0])));

    /// <summary>QUANTIZE of codes to others: XNNPACK has it for int8, and scales that are not far apart.</summary>
    private static Tensor Requantized(DeviceOperand x, FakeQuantAnnotation output)
    {
        float factor = x.Scale / output.Scale[0];
        return output.QType == QType.Int8 && factor is >= 1f / 256 and <= 128
            ? Times256th(x.IntegerSteps(), factor)
            : FixedPoint.Scale(x.IntegerSteps(), FixedPoint.Factor((double)x.Scale / output.Scale[0]));
    }

    private static Tensor Times256th(Tensor steps, float factor) => FixedPoint.ShiftRight((steps * (long)MathF.Round(256 * factor)) + 128, 8);

    private static Source? Operand(OdmlRun run, object? argument, bool reciprocal)
    {
        if (DeviceKernels.Operand(run, argument) is { } known)
            return run.Tags[(Tensor)argument!] is { IsConstant: true } && known.Values.eq(0).all().item<bool>() ? new(null, 0) : new(known, 0);
        double? number = argument is Tensor { NumberOfElements: 1, device_type: DeviceType.CPU } constant && run.Tags[constant] is null && run.State.UseOf(constant) is null
            ? constant.to(ScalarType.Float64).item<double>()
            : DeviceKernels.Number(argument);
        return number is { } n ? new(null, reciprocal ? 1 / (float)n : (float)n) : null;
    }

    /// <summary>An operand, or a number, which the file has as a code of 64 with a scale of its own.</summary>
    private sealed record Source(DeviceOperand? Known, float Number)
    {
        internal DeviceOperand For(FakeQuantAnnotation output) => Known
            ?? (Number == 0
                ? new(tensor(0f), output with { ZeroPoint = null }) // the file gives zeros the output's scale
                : new(tensor(Number), output with { Scale = [Math.Abs(Number) / 64], ZeroPoint = null }));
    }
}
