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
    private static extern void SetOwningScope(Tensor tensor, DisposeScope? scope);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "get_Disposables")]
    private static extern HashSet<IDisposable> Disposables(DisposeScope scope);

    [UnsafeAccessor(UnsafeAccessorKind.StaticField, Name = "_totalCount")]
    private static extern ref long TotalCount(Tensor? type);

    [UnsafeAccessor(UnsafeAccessorKind.StaticMethod, Name = "get_ThreadSingleton")]
    private static extern DisposeScopeManager Scopes(DisposeScopeManager? type);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "DisposingOnCurrentScope")]
    private static extern void CountDisposal(DisposeScopeManager scopes, Tensor tensor);

    /// <summary>A tensor object without a native tensor. TorchSharp counts it as one that lives, in the current scope if there is one.</summary>
    internal static Tensor Empty() => Tensor.UnsafeCreateTensor(0);

    /// <summary>TorchSharp forgets a tensor object without a native tensor, as if it were disposed.</summary>
    internal static void Forget(Tensor tensor)
    {
        CountDisposal(Scopes(null), tensor);
        Interlocked.Decrement(ref TotalCount(null));
        Orphan(tensor);
    }

    /// <summary>The native tensor of a tensor object, which is empty afterwards and belongs to no scope; TorchSharp still counts it as one that lives.</summary>
    internal static nint Take(Tensor tensor)
    {
        ref var handle = ref Handle(tensor);
        var native = handle;
        handle = 0;
        if (OwningScope(tensor) is { } scope) Disposables(scope).Remove(tensor);
        Orphan(tensor);
        return native;
    }

    private static void Orphan(Tensor tensor)
    {
        SetOwningScope(tensor, null);
        GC.SuppressFinalize(tensor);
    }

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
