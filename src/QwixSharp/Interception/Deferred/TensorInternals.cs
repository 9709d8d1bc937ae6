using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>What deferring ops needs of TorchSharp's tensors beyond their public members, and quick ways to their metadata.</summary>
internal static partial class TensorInternals
{
    private const string Library = "LibTorchSharp";

    /// <summary>The native tensor; zero for one that is disposed or has no value yet.</summary>
    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "handle")]
    internal static extern ref nint Handle(Tensor tensor);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "get_OwningDisposeScope")]
    internal static extern DisposeScope? OwningScope(Tensor tensor);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "set_OwningDisposeScope")]
    internal static extern void SetOwningScope(Tensor tensor, DisposeScope? scope);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "get_Disposables")]
    internal static extern HashSet<IDisposable> Disposables(DisposeScope scope);

    [UnsafeAccessor(UnsafeAccessorKind.StaticField, Name = "_totalCount")]
    internal static extern ref long TotalCount(Tensor? type);

    /// <summary>The shape of a tensor that has a value.</summary>
    internal static long[] Shape(nint handle)
    {
        var shape = new long[NumberOfAxes(handle)];
        for (var axis = 0; axis < shape.Length; axis++) shape[axis] = Size(handle, axis);
        return shape;
    }

    [SuppressGCTransition]
    [LibraryImport(Library, EntryPoint = "THSTensor_ndimension")]
    internal static partial long NumberOfAxes(nint tensor);

    [SuppressGCTransition]
    [LibraryImport(Library, EntryPoint = "THSTensor_size")]
    internal static partial long Size(nint tensor, long axis);

    [SuppressGCTransition]
    [LibraryImport(Library, EntryPoint = "THSTensor_stride")]
    internal static partial long Stride(nint tensor, long axis);

    [SuppressGCTransition]
    [LibraryImport(Library, EntryPoint = "THSTensor_type")]
    internal static partial sbyte ElementType(nint tensor);

    [SuppressGCTransition]
    [LibraryImport(Library, EntryPoint = "THSTensor_device_type")]
    internal static partial int DeviceKind(nint tensor);

    [SuppressGCTransition]
    [LibraryImport(Library, EntryPoint = "THSTensor_data")]
    internal static partial nint Data(nint tensor);

    [SuppressGCTransition]
    [LibraryImport(Library, EntryPoint = "THSTensor_is_contiguous")]
    [return: MarshalAs(UnmanagedType.U1)]
    internal static partial bool IsContiguous(nint tensor);

    [SuppressGCTransition]
    [LibraryImport(Library, EntryPoint = "THSTensor_is_sparse")]
    [return: MarshalAs(UnmanagedType.U1)]
    internal static partial bool IsSparse(nint tensor);

    [SuppressGCTransition]
    [LibraryImport(Library, EntryPoint = "THSTensor_requires_grad")]
    [return: MarshalAs(UnmanagedType.U1)]
    internal static partial bool RequiresGradient(nint tensor);

    [SuppressGCTransition]
    [LibraryImport(Library, EntryPoint = "THSAutograd_isGradEnabled")]
    [return: MarshalAs(UnmanagedType.U1)]
    internal static partial bool GradientsAreRecorded();
}
