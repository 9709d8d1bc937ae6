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

    /// <summary>The windows.</summary>
    public WindowBlocks Blocks;

    /// <summary>From one block's float32 results, and addends, to the next one's, in elements.</summary>
    public nint BlockStep;

    /// <summary>From one block's codes to the next one's.</summary>
    public nint BlockCodes;

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

    /// <summary>The code, not rounded, of the least value that the activation leaves, where that is all it does.</summary>
    public float LeastCode;

    /// <summary>The code of the largest such value.</summary>
    public float MostCode;
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
        var isPlain = args.WeightScales != null && args.Floats == null && args.Codes != null && args.Addend == null && (args.Bias == null || args.Factor == null);
        return isPlain && args.Activation.Kind is ImageActivationKind.Clamp or ImageActivationKind.None ? RunToCodes(args) : RunAny(args);
    }

    /// <summary>
    /// Sums that have a bias or are normalized, are clamped and become codes. Codes are clamped instead of values, which gives the same: larger values
    /// never have smaller codes.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool RunToCodes(in EpilogueArgs args)
    {
        var block = (int*)args.Values;
        var blockCodes = args.Codes;
        var (stride, step) = (args.Stride, args.Step);
        var inputScale = Vector512.Create(args.InputScale);
        var weightScale = Vector512.Load(args.WeightScales);
        // Times 1 plus -0 changes nothing, and one addition is the same within a multiplication by 1.
        var factor = args.Factor == null ? Vector512<float>.One : Vector512.Load(args.Factor);
        var offset = args.Factor != null ? Vector512.Load(args.Offset) : args.Bias != null ? Vector512.Load(args.Bias) : Vector512.Create(-0f);
        var negativeCodeScale = Vector512.Create(-args.CodeScale);
        var codesPerUnit = Vector512.Create(args.CodesPerUnit);
        var codeZeroPoint = Vector512.Create((float)args.CodeZeroPoint);
        var lowestCode = Vector512.Create(args.LeastCode);
        var highestCode = Vector512.Create(args.MostCode);
        var rounding = Vector512.Create(Rounding + args.AddedToCodes);
        var finite = Vector512<float>.Zero;
        for (var blocks = args.Blocks.Count; blocks > 0; blocks--, block += args.Blocks.Stride, blockCodes += args.BlockCodes)
        {
            var values = block;
            var codes = blockCodes;
            for (var windows = args.Blocks.Windows; windows > 0; windows--, values += stride, codes += step)
            {
                var v = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(Vector512.Load(values)) * inputScale * weightScale, factor, offset);
                finite = Vector512.FusedMultiplyAdd(v, Vector512<float>.Zero, finite);
                var quotient = v * codesPerUnit;
                quotient = Vector512.FusedMultiplyAdd(Vector512.FusedMultiplyAdd(quotient, negativeCodeScale, v), codesPerUnit, quotient) + codeZeroPoint;
                quotient = Vector512.MaxNative(Vector512.MinNative(quotient, highestCode), lowestCode);
                LowestBytes((quotient + rounding).AsUInt32()).Store(codes);
            }
        }
        return Vector512.EqualsAll(finite, Vector512<float>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool RunAny(in EpilogueArgs args)
    {
        var weightScales = (nint)args.WeightScales;
        var (stride, addendStep, step, activation) = (args.Stride, args.AddendStep, args.Step, args.Activation.Kind);
        bool hasBias = args.Bias != null, hasFactor = args.Factor != null;
        var inputScale = Vector512.Create(args.InputScale);
        var weightScale = weightScales == 0 ? default : Vector512.Load((float*)weightScales);
        var bias = hasBias ? Vector512.Load(args.Bias) : default;
        var factor = hasFactor ? Vector512.Load(args.Factor) : default;
        var offset = hasFactor ? Vector512.Load(args.Offset) : default;
        var lowest = Vector512.Create(args.Activation.Lowest);
        var highest = Vector512.Create(args.Activation.Highest);
        var negativeCodeScale = Vector512.Create(-args.CodeScale);
        var codesPerUnit = Vector512.Create(args.CodesPerUnit);
        var codeZeroPoint = Vector512.Create((float)args.CodeZeroPoint);
        var lowestCode = Vector512.Create((float)args.LowestCode);
        var highestCode = Vector512.Create((float)args.HighestCode);
        var rounding = Vector512.Create(Rounding + args.AddedToCodes);
        var finite = Vector512<float>.Zero;
        for (var block = 0; block < args.Blocks.Count; block++)
        {
            var values = (float*)args.Values + block * args.Blocks.Stride;
            nint addend = Of(args.Addend, block * args.BlockStep), floats = Of(args.Floats, block * args.BlockStep), codes = args.Codes == null ? 0 : (nint)args.Codes + block * args.BlockCodes;
            for (var windows = args.Blocks.Windows; windows > 0; windows--, values += stride)
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
                quotient = Vector512.FusedMultiplyAdd(Vector512.FusedMultiplyAdd(quotient, negativeCodeScale, v), codesPerUnit, quotient) + codeZeroPoint;
                quotient = Vector512.MaxNative(Vector512.MinNative(quotient, highestCode), lowestCode);
                LowestBytes((quotient + rounding).AsUInt32()).Store((byte*)codes);
                codes += step;
            }
        }
        return Vector512.EqualsAll(finite, Vector512<float>.Zero);
    }

    private static nint Of(float* values, nint index) => values == null ? 0 : (nint)(values + index);

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
