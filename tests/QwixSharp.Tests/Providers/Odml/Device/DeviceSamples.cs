using QwixSharp.Numerics;
using QwixSharp.Providers;
using QwixSharp.Providers.Odml.Device;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers.Odml.Device;

/// <summary>Operands of kernels, made of codes, and the codes of results.</summary>
internal static class DeviceSamples
{
    public static FakeQuantAnnotation Codes(QType type, float scale, long zeroPoint = 0) => new()
    {
        ModulePath = "",
        OpName = "op",
        OpId = "op0",
        Operand = "",
        Shape = [],
        QType = type,
        Scale = [scale],
        ZeroPoint = zeroPoint == 0 ? null : [zeroPoint],
    };

    /// <summary>An operand of codes less their zero point.</summary>
    public static DeviceOperand Operand(long[] steps, FakeQuantAnnotation codes, params long[] shape) =>
        new(tensor(Array.ConvertAll(steps, s => (float)s)).reshape(shape.Length == 0 ? [steps.Length] : shape) * codes.Scale[0], codes);

    /// <summary>The codes of values, less their zero point, which they have to be.</summary>
    public static long[] StepsOf(Tensor? values, FakeQuantAnnotation codes)
    {
        Assert.NotNull(values);
        using var steps = values.to(ScalarType.Float64).reshape(-1) / codes.Scale[0];
        // Values are in single precision.
        Assert.InRange((steps - steps.round()).abs().max().item<double>(), 0, 0.01);
        return [.. steps.data<double>().ToArray().Select(s => (long)Math.Round(s))];
    }

    /// <summary>All codes of a type, less a zero point.</summary>
    public static long[] AllSteps(FakeQuantAnnotation codes, int every = 1)
    {
        var (low, high) = Ends(codes);
        return [.. Enumerable.Range(0, (int)((high - low) / every) + 1).Select(i => low + ((long)i * every))];
    }

    public static long Clamp(long steps, FakeQuantAnnotation codes)
    {
        var (low, high) = Ends(codes);
        return Math.Clamp(steps, low, high);
    }

    private static (long Low, long High) Ends(FakeQuantAnnotation codes)
    {
        long half = codes.QType == QType.Int16 ? 32768 : 128, zeroPoint = codes.ZeroPoint?[0] ?? 0;
        return (-half - zeroPoint, half - 1 - zeroPoint);
    }
}
