using System.Collections.Concurrent;
using TorchSharp;

namespace QwixSharp.Numerics;

/// <summary>
/// Numbers that live on: TorchSharp hands the memory of a passing one to native code without keeping it, and a finalizer could free it
/// meanwhile. For constants, as each number is kept for good.
/// </summary>
internal static class LastingNumber
{
    private static readonly ConcurrentDictionary<long, Scalar> Integers = new();
    private static readonly ConcurrentDictionary<double, Scalar> Floats = new();

    /// <summary>An integer.</summary>
    /// <param name="value">The number.</param>
    internal static Scalar Of(long value) => Integers.GetOrAdd(value, v => v.ToScalar());

    /// <summary>A floating-point number.</summary>
    /// <param name="value">The number.</param>
    internal static Scalar Of(double value) => Floats.GetOrAdd(value, v => v.ToScalar());
}
