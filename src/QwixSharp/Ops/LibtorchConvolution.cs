using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>Whether libtorch's float32 convolutions are plain sums of products, so that those of small integers are exact.</summary>
internal static class LibtorchConvolution
{
    private static readonly Lazy<bool> IsRight = new(IsRightHere);

    /// <summary>
    /// Whether they are on a device. Others than the CPU may take Winograd's or Fourier's way, or shorter floats, which round even small
    /// integers. And the oneDNN in libtorch 2.10 computes some wrongly on some processors: Zen 5 in a virtual machine, more than 16 input
    /// features that are no multiple of 16. float64 rounded to integers is exact on all.
    /// </summary>
    /// <param name="device">The device.</param>
    internal static bool AddsUpPlainly(Device device) =>
        device.type == DeviceType.CPU && RuntimeInformation.ProcessArchitecture == Architecture.X64 && IsRight.Value;

    /// <summary>Tries what is known to go wrong, once.</summary>
    private static bool IsRightHere()
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        Tensor x = Integers(2, 20, 7, 7), w = Integers(20, 20, 3, 3);
        return nn.functional.conv2d(x, w).to(ScalarType.Float64).Equals(nn.functional.conv2d(x.to(ScalarType.Float64), w.to(ScalarType.Float64)));

        static Tensor Integers(params long[] shape) =>
            arange(shape.Aggregate((a, b) => a * b), dtype: ScalarType.Float32).remainder(17).sub_(8).reshape(shape);
    }
}
