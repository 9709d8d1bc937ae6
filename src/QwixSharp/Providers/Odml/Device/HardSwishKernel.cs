using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml.Device;

/// <summary>
/// Hard-swish of int8 codes, x · relu6(x + 3) / 6, in 16-bit fixed point: one factor is the input on the output's scale, the other relu6 as a
/// number from 0 to 1, and each step rounds.
/// </summary>
internal static class HardSwishKernel
{
    /// <summary>The bits that a code is moved up by, so that as many as possible take part in products.</summary>
    private const int FineBits = 7;

    private const long Lowest = short.MinValue, Highest = short.MaxValue;

    /// <summary>The function; null where LiteRT has no such kernel.</summary>
    /// <param name="x">The operand.</param>
    /// <param name="output">The codes of the output.</param>
    internal static Tensor? Of(DeviceOperand x, FakeQuantAnnotation output)
    {
        if (x.Codes.QType != QType.Int8 || output.QType != QType.Int8)
            return null;
        float fineScale = 1f / (1 << FineBits) * x.Scale;
        var (outputFactor, outputShift) = ShortFactor((double)(fineScale / output.Scale[0]));
        var (gateFactor, gateShift) = ShortFactor((double)(fineScale / (3f / 32768)));
        if (outputShift > 0)
            return null;
        var fine = x.IntegerSteps() * (1L << FineBits);
        // The last product is cut off, not rounded.
        var result = (Product(fine, outputFactor) * Gate(fine, gateFactor, gateShift)).div(tensor(1L << 15), RoundingMode.trunc).clamp_max(Highest);
        return DeviceCodes.Values(FixedPoint.DivideAway(result, tensor(1L << -outputShift)), output);
    }

    /// <summary>relu6(x + 3) / 6 in 15 bits: x/3 is cut off at −1 and 1, which saturation does.</summary>
    private static Tensor Gate(Tensor fine, long factor, int shift)
    {
        var gate = fine;
        if (shift > 0)
            gate = (gate * (1L << (shift - 1))).clamp(Lowest, Highest);
        gate = Product(gate, factor);
        if (shift > 0)
            gate = (gate * 2).clamp(Lowest, Highest);
        else if (shift < 0)
            gate = FixedPoint.DivideAway(gate, tensor(1L << -shift));
        return FixedPoint.ShiftRight(gate + (1L << 15), 1);
    }

    /// <summary>A factor as <c>m · 2^(shift − 15)</c>, where m has 15 bits.</summary>
    private static (long Multiplier, int Shift) ShortFactor(double factor)
    {
        var (multiplier, shift) = FixedPoint.Factor(factor);
        return (Math.Min((multiplier + (1L << 15)) >> 16, Highest), shift);
    }

    private static Tensor Product(Tensor values, long factor) => FixedPoint.HighHalf(values * factor, 15).clamp_max(Highest);
}
