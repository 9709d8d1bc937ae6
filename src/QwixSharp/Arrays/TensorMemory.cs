using System.Runtime.InteropServices;
using QwixSharp.Kernels;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>The memory of tensors, without a copy.</summary>
internal static partial class TensorMemory
{
    /// <summary>
    /// The address of a tensor's first element. It is valid while the tensor lives; on the meta device it is zero.
    /// </summary>
    /// <remarks>TorchSharp's own ways to the address make a second tensor or ask for contiguity.</remarks>
    internal static nint Address(Tensor tensor)
    {
        nint address = THSTensor_data(tensor.Handle);
        GC.KeepAlive(tensor);
        return address;
    }

    /// <summary>The kernels' name of a dtype; null if they do not know it.</summary>
    internal static FloatFormat? FormatOf(ScalarType dtype) => dtype switch
    {
        ScalarType.Float32 => FloatFormat.Float32,
        ScalarType.BFloat16 => FloatFormat.BFloat16,
        ScalarType.Float16 => FloatFormat.Float16,
        _ => null,
    };

    [LibraryImport("LibTorchSharp")]
    private static partial nint THSTensor_data(nint tensor);
}
