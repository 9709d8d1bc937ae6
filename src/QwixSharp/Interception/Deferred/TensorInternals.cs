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

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "get_OuterScope")]
    private static extern DisposeScope? OuterScope(DisposeScope scope);

    /// <summary>
    /// A tensor object without a native tensor. It knows the current scope, but TorchSharp does not know of it: most never get a
    /// value, and neither counting nor listing nor finalizing them would be for anything.
    /// </summary>
    internal static Tensor Empty()
    {
        var tensor = (Tensor)RuntimeHelpers.GetUninitializedObject(typeof(Tensor));
        GC.SuppressFinalize(tensor);
        SetOwningScope(tensor, CurrentDisposeScope);
        return tensor;
    }

    /// <summary>A tensor object that has got a native tensor becomes one like any other.</summary>
    internal static void Join(Tensor tensor)
    {
        GC.ReRegisterForFinalize(tensor);
        Enlist(tensor);
    }

    /// <summary>The scope of a tensor object lists it.</summary>
    internal static void Enlist(Tensor tensor)
    {
        if (OwningScope(tensor) is { } scope) Disposables(scope).Add(tensor);
    }

    /// <summary>A tensor object without a native tensor belongs to no scope any more.</summary>
    internal static void Leave(Tensor tensor) => SetOwningScope(tensor, null);

    /// <summary>A tensor object without a native tensor goes to the next outer scope.</summary>
    internal static void MoveOut(Tensor tensor)
    {
        if (OwningScope(tensor) is not { } scope) return;
        SetOwningScope(tensor, OuterScope(scope));
        if (Disposables(scope).Remove(tensor)) Enlist(tensor);
    }

    /// <summary>The native tensor of a tensor object, which is empty afterwards and belongs to no scope; TorchSharp still counts it as one that lives.</summary>
    internal static nint Take(Tensor tensor)
    {
        ref var handle = ref Handle(tensor);
        var native = handle;
        handle = 0;
        if (OwningScope(tensor) is { } scope) Disposables(scope).Remove(tensor);
        SetOwningScope(tensor, null);
        GC.SuppressFinalize(tensor);
        return native;
    }

    /// <summary>The shape of a tensor that has a value.</summary>
    internal static long[] Shape(nint handle)
    {
        var shape = new long[NumberOfAxes(handle)];
        for (var axis = 0; axis < shape.Length; axis++) shape[axis] = Size(handle, axis);
        return shape;
    }

    /// <summary>The addresses between which the elements of a float32 tensor that has a value lie.</summary>
    internal static (nint From, nint To) Memory(nint handle)
    {
        var (from, elements) = (Data(handle), 1L);
        for (var axis = NumberOfAxes(handle) - 1; axis >= 0; axis--)
        {
            if (Size(handle, axis) is var size && size == 0) return (from, from);
            elements += (size - 1) * Stride(handle, axis);
        }

        return (from, from + (nint)(elements * sizeof(float)));
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
