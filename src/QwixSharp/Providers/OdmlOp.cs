using QwixSharp.Providers.Odml;

namespace QwixSharp.Providers;

/// <summary>
/// What becomes of the ranges of an op's inputs and outputs on a device: the kinds of ops that LiteRT's quantization
/// specification knows.
/// </summary>
/// <remarks>Give some to <see cref="OdmlQatProvider"/> under the names of ops that it does not know, or should treat otherwise.</remarks>
public sealed class OdmlOp
{
    internal OdmlOp(OdmlHandler handler, int operands = 1, (double Min, double Max)? range = null) =>
        (Handler, Operands, Range) = (handler, operands, range);

    /// <summary>An op whose output has the range of its input, which is quantized: pooling.</summary>
    public static OdmlOp SharesInput { get; } = new(RangeHandlers.SharesInput);

    /// <summary>An op whose input has the range of its output, which is quantized: ReLU, clamp, pad. It fuses into a product before it.</summary>
    public static OdmlOp SharesOutput { get; } = new(RangeHandlers.SharesOutput);

    /// <summary>An op that only moves values: reshape, transpose, slice. It is as if it were not there.</summary>
    public static OdmlOp MovesData { get; } = new(RangeHandlers.MovesData);

    /// <summary>An op without an integer form: its input is quantized only where the op before asks for it, its output never.</summary>
    public static OdmlOp FloatingPoint { get; } = new(RangeHandlers.FloatingPoint);

    internal OdmlHandler Handler { get; }

    /// <summary>How many of the first arguments are operands that are quantized.</summary>
    internal int Operands { get; }

    /// <summary>Whether the op is looked at even if none of its operands is an activation.</summary>
    internal bool SeesConstants { get; init; }

    /// <summary>The range of the output, where it is known.</summary>
    internal (double Min, double Max)? Range { get; }

    /// <summary>An op with integer arithmetic whose inputs and output have ranges of their own: add, mean, GELU.</summary>
    /// <param name="operands">How many of its first arguments are quantized, 1 or 2.</param>
    /// <returns>The kind.</returns>
    public static OdmlOp Quantized(int operands = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(operands, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(operands, 2);
        return new(RangeHandlers.Quantized, operands);
    }

    /// <summary>A quantized op of one operand whose output always has one range: softmax, tanh, an L2 norm.</summary>
    /// <param name="min">The smallest value that int8 can represent, at most 0.</param>
    /// <param name="max">The largest value that int8 can represent: for sigmoid 255/256, for tanh 127/128.</param>
    /// <returns>The kind.</returns>
    /// <exception cref="ArgumentException">The range is empty or does not contain 0.</exception>
    public static OdmlOp FixedRange(double min, double max)
    {
        _ = Arrays.CalibrationMethod.Fixed(min, max);
        return new(RangeHandlers.Quantized, 1, (min, max));
    }
}
