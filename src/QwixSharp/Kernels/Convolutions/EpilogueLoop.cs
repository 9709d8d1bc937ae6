using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>What <see cref="EpilogueLoop"/> works on; see <see cref="ConvolutionOutput"/>. What is null is left out.</summary>
internal unsafe struct EpilogueArgs
{
    /// <summary>int32 sums if there are <see cref="WeightScales"/>, else float32 values; 16 of each window.</summary>
    public void* Values;

    /// <summary>From one window's values to the next one's.</summary>
    public nint Stride;

    /// <summary>How many windows.</summary>
    public int Windows;

    /// <summary>The image's scale.</summary>
    public float InputScale;

    /// <summary>16 scales of the weight, or null.</summary>
    public float* WeightScales;

    /// <summary>16 values that are added, or null.</summary>
    public float* Bias;

    /// <summary>16 factors, or null.</summary>
    public float* Factor;

    /// <summary>16 values that are added to a product with <see cref="Factor"/>.</summary>
    public float* Offset;

    /// <summary>16 values of each window that are added, or null.</summary>
    public float* Addend;

    /// <summary>From one window's addend to the next one's.</summary>
    public nint AddendStep;

    /// <summary>What values become before they are stored.</summary>
    public ImageActivation Activation;

    /// <summary>Where 16 values of the first window go, or null.</summary>
    public float* Floats;

    /// <summary>Where 16 codes + <see cref="AddedToCodes"/> of the first window go, or null.</summary>
    public byte* Codes;

    /// <summary>From one window's result to the next one's, in elements.</summary>
    public nint Step;

    /// <summary>What a code stands for.</summary>
    public float CodeScale;

    /// <summary>1 ÷ <see cref="CodeScale"/>.</summary>
    public float CodesPerUnit;

    /// <summary>The code of 0.</summary>
    public int CodeZeroPoint;

    /// <summary>What codes are stored with: 128 or 0.</summary>
    public int AddedToCodes;

    /// <summary>The smallest code.</summary>
    public int LowestCode;

    /// <summary>The largest code.</summary>
    public int HighestCode;
}

/// <summary>The loop of <see cref="SumsEpilogue"/>: it calls nothing, so that all that stays the same stays in registers.</summary>
internal static unsafe class EpilogueLoop
{
    /// <summary>Added to a float32 of moderate size, this rounds it half to even and leaves it in the lowest byte.</summary>
    private const float Rounding = 12582912f;

    /// <summary>Runs over all windows.</summary>
    /// <param name="args">The operands.</param>
    /// <returns>Whether all values are finite; it may be said of those before the activation.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static bool Run(in EpilogueArgs args)
    {
        var isPlain = args.WeightScales != null && args.Floats == null && args.Codes != null && args.Addend == null && args.Bias == null && args.Factor != null;
        return isPlain && args.Activation.Kind is ImageActivationKind.Clamp or ImageActivationKind.None ? RunToCodes(args) : RunAny(args);
    }

    /// <summary>
    /// Sums that are normalized, clamped and become codes. Codes are clamped instead of values, which gives the same: larger values
    /// never have smaller codes.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool RunToCodes(in EpilogueArgs args)
    {
        var values = (int*)args.Values;
        var codes = args.Codes;
        var (stride, step) = (args.Stride, args.Step);
        var inputScale = Vector512.Create(args.InputScale);
        var weightScale = Vector512.Load(args.WeightScales);
        var factor = Vector512.Load(args.Factor);
        var offset = Vector512.Load(args.Offset);
        var codeScale = Vector512.Create(args.CodeScale);
        var codesPerUnit = Vector512.Create(args.CodesPerUnit);
        var codeZeroPoint = Vector512.Create((float)args.CodeZeroPoint);
        var lowestCode = Vector512.Create((float)args.LowestCode);
        var highestCode = Vector512.Create((float)args.HighestCode);
        if (args.Activation.Kind == ImageActivationKind.Clamp)
        {
            var (least, most) = (CodeOf(args.Activation.Lowest, args), CodeOf(args.Activation.Highest, args));
            lowestCode = Vector512.Create(Math.Min(least, most));
            highestCode = Vector512.Create(most);
        }
        var rounding = Vector512.Create(Rounding + args.AddedToCodes);
        var finite = Vector512<float>.Zero;
        for (var windows = args.Windows; windows > 0; windows--, values += stride, codes += step)
        {
            var v = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(Vector512.Load(values)) * inputScale * weightScale, factor, offset);
            finite = Vector512.FusedMultiplyAdd(v, Vector512<float>.Zero, finite);
            var quotient = v * codesPerUnit;
            quotient = Vector512.FusedMultiplyAdd(Vector512.FusedMultiplyAdd(-quotient, codeScale, v), codesPerUnit, quotient) + codeZeroPoint;
            quotient = Vector512.MaxNative(Vector512.MinNative(quotient, highestCode), lowestCode);
            LowestBytes((quotient + rounding).AsUInt32()).Store(codes);
        }
        return Vector512.EqualsAll(finite, Vector512<float>.Zero);
    }

    /// <summary>The code of a value, not rounded yet.</summary>
    private static float CodeOf(float value, in EpilogueArgs args) => Math.Clamp(value / args.CodeScale + args.CodeZeroPoint, args.LowestCode, args.HighestCode);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool RunAny(in EpilogueArgs args)
    {
        var values = (float*)args.Values;
        var (weightScales, addend, floats, codes) = ((nint)args.WeightScales, args.Addend == null ? 0 : (nint)args.Addend, (nint)args.Floats, (nint)args.Codes);
        var (stride, addendStep, step, activation) = (args.Stride, args.AddendStep, args.Step, args.Activation.Kind);
        bool hasBias = args.Bias != null, hasFactor = args.Factor != null;
        var inputScale = Vector512.Create(args.InputScale);
        var weightScale = weightScales == 0 ? default : Vector512.Load((float*)weightScales);
        var bias = hasBias ? Vector512.Load(args.Bias) : default;
        var factor = hasFactor ? Vector512.Load(args.Factor) : default;
        var offset = hasFactor ? Vector512.Load(args.Offset) : default;
        var lowest = Vector512.Create(args.Activation.Lowest);
        var highest = Vector512.Create(args.Activation.Highest);
        var codeScale = Vector512.Create(args.CodeScale);
        var codesPerUnit = Vector512.Create(args.CodesPerUnit);
        var codeZeroPoint = Vector512.Create((float)args.CodeZeroPoint);
        var lowestCode = Vector512.Create((float)args.LowestCode);
        var highestCode = Vector512.Create((float)args.HighestCode);
        var rounding = Vector512.Create(Rounding + args.AddedToCodes);
        var finite = Vector512<float>.Zero;
        for (var windows = args.Windows; windows > 0; windows--, values += stride)
        {
            var v = weightScales == 0 ? Vector512.Load(values) : Vector512.ConvertToSingle(Vector512.Load((int*)values)) * inputScale * weightScale;
            if (hasBias)
                v += bias;
            if (hasFactor)
                v = Vector512.FusedMultiplyAdd(v, factor, offset);
            if (addend != 0)
            {
                v += Vector512.Load((float*)addend);
                addend += addendStep * sizeof(float);
            }
            // In this order NaN stays NaN on x86 too, where the second operand is the result then.
            if (activation == ImageActivationKind.Clamp)
            {
                v = Vector512.MinNative(highest, Vector512.MaxNative(lowest, v));
            }
            else if (activation != ImageActivationKind.None)
            {
                var gate = Vector512.MinNative(highest, Vector512.MaxNative(lowest, v + Vector512.Create(3f)));
                v = (activation == ImageActivationKind.HardSwish ? v * gate : gate) / Vector512.Create(6f);
            }
            // 0 · v is not 0 for infinity and NaN.
            finite = Vector512.FusedMultiplyAdd(v, Vector512<float>.Zero, finite);
            if (floats != 0)
            {
                v.Store((float*)floats);
                floats += step * sizeof(float);
            }
            if (codes == 0)
                continue;
            // The quotient is that of a division: a product with the reciprocal, corrected by what it leaves over (Markstein,
            // Computation of Elementary Functions on the IBM RISC System/6000 Processor, 1990).
            var quotient = v * codesPerUnit;
            quotient = Vector512.FusedMultiplyAdd(Vector512.FusedMultiplyAdd(-quotient, codeScale, v), codesPerUnit, quotient) + codeZeroPoint;
            quotient = Vector512.MaxNative(Vector512.MinNative(quotient, highestCode), lowestCode);
            LowestBytes((quotient + rounding).AsUInt32()).Store((byte*)codes);
            codes += step;
        }
        return Vector512.EqualsAll(finite, Vector512<float>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> LowestBytes(Vector512<uint> words)
    {
        if (Avx512F.IsSupported)
            return Avx512F.ConvertToVector128Byte(words);
        var lowest = words & Vector512.Create(0xFFu);
        var narrow = Vector256.Narrow(lowest.GetLower(), lowest.GetUpper());
        return Vector128.Narrow(narrow.GetLower(), narrow.GetUpper());
    }
}
