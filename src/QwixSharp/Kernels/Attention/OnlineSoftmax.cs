using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace QwixSharp.Kernels.Attention;

/// <summary>
/// The softmax of a row that comes block by block (M. Milakov and N. Gimelshein, arXiv 1805.02867): the largest score so
/// far and the sum of exponentials relative to it.
/// </summary>
internal static unsafe class OnlineSoftmax
{
    private const int Tokens = AttentionSource.BlockTokens;

    /// <summary>Takes a block of scores in.</summary>
    /// <param name="scores">The scores of a block's tokens before their scales; they become exponentials times the values' scales.</param>
    /// <param name="visible">How many of the tokens count: 0 … <see cref="Tokens"/>.</param>
    /// <param name="keyScales">The scales of the block's keys; null where there are none.</param>
    /// <param name="valueScales">The scales of the block's values; null where there are none.</param>
    /// <param name="largest">The largest score so far; −∞ in the beginning.</param>
    /// <param name="sum">The sum of exponentials so far.</param>
    /// <returns>What sums over earlier tokens must be multiplied with.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Take(float* scores, int visible, float* keyScales, float* valueScales, float* largest, float* sum)
    {
        if (visible == 0)
        {
            new Span<float>(scores, Tokens).Clear();
            return 1;
        }
        if (keyScales != null)
            for (var i = 0; i < Tokens; i += 8)
                (Vector256.Load(scores + i) * Vector256.Load(keyScales + i)).Store(scores + i);
        for (var i = visible; i < Tokens; i++)
            scores[i] = float.NegativeInfinity;
        var before = *largest;
        var now = MathF.Max(before, Largest(scores));
        *largest = now;
        var total = Vector512.IsHardwareAccelerated ? WideExponentials(scores, now, valueScales) : Exponentials(scores, now, valueScales);
        // A scale that is not a number must not reach queries that do not see its token.
        for (var i = visible; i < Tokens; i++)
            scores[i] = 0;
        var factor = now == before ? 1 : MathF.Exp(before - now);
        *sum = *sum * factor + Vector256.Sum(total);
        return factor;
    }

    /// <summary>Scores become exponentials of their distance to the largest, times the values' scales.</summary>
    /// <returns>The sums of the exponentials, each eighth in a lane.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Exponentials(float* scores, float largest, float* valueScales)
    {
        var total = Vector256<float>.Zero;
        var shift = Vector256.Create(largest);
        for (var i = 0; i < Tokens; i += 8)
        {
            var exponentials = Exponential.OfNegative(Vector256.Load(scores + i) - shift);
            total += exponentials;
            (valueScales == null ? exponentials : exponentials * Vector256.Load(valueScales + i)).Store(scores + i);
        }
        return total;
    }

    /// <summary>The same, bit for bit, sixteen scores at once.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> WideExponentials(float* scores, float largest, float* valueScales)
    {
        var total = Vector256<float>.Zero;
        var shift = Vector512.Create(largest);
        for (var i = 0; i < Tokens; i += 16)
        {
            var exponentials = Exponential.OfNegative(Vector512.Load(scores + i) - shift);
            total = total + exponentials.GetLower() + exponentials.GetUpper();
            (valueScales == null ? exponentials : exponentials * Vector512.Load(valueScales + i)).Store(scores + i);
        }
        return total;
    }

    /// <summary>The largest score of a block; of one that is not a number, any.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Largest(float* scores)
    {
        var most = Vector256.Load(scores);
        for (var i = 8; i < Tokens; i += 8)
            most = Vector256.MaxNative(most, Vector256.Load(scores + i));
        var half = Vector128.MaxNative(most.GetLower(), most.GetUpper());
        return MathF.Max(MathF.Max(half[0], half[1]), MathF.Max(half[2], half[3]));
    }
}
