using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>
/// Noise for stochastic rounding: float32 around 0, added before rounding to nearest. It has the length of the array along
/// some axes, and is the same for all indices of the others.
/// </summary>
internal static class StochasticRounding
{
    /// <summary>The random bits of a number of <see cref="LowBitUniform"/>.</summary>
    private const int LowBits = 8;

    /// <summary>Uniform in [−0.5, 0.5).</summary>
    internal static Tensor Uniform(long[] shape, IReadOnlyCollection<int> axes, Generator? generator, Device device)
    {
        using var scope = NewDisposeScope();
        return (Draw(shape, axes, generator, device) - 0.5f).MoveToOuterDisposeScope();
    }

    /// <summary>Uniform over 256 numbers, the midpoints of as many equal parts of (−0.5, 0.5).</summary>
    internal static Tensor LowBitUniform(long[] shape, IReadOnlyCollection<int> axes, Generator? generator, Device device)
    {
        using var scope = NewDisposeScope();
        const float Parts = 1 << LowBits;
        return (((Draw(shape, axes, generator, device) * Parts).floor() + 0.5f) / Parts - 0.5f).MoveToOuterDisposeScope();
    }

    private static Tensor Draw(long[] shape, IReadOnlyCollection<int> axes, Generator? generator, Device device)
    {
        long[] drawn = [.. shape.Select((length, axis) => axes.Contains(axis) ? length : 1)];
        return generator is null
            ? rand(drawn, dtype: ScalarType.Float32, device: device)
            : rand(drawn, dtype: ScalarType.Float32, device: generator.device, generator: generator).to(device);
    }
}
