using System.Runtime.CompilerServices;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>What emitted code calls so that a tensor without a value is never seen by anyone but copied code.</summary>
internal static class Deferral
{
    /// <summary>Defers a call of an op.</summary>
    /// <returns>The result, or null where the call must be made.</returns>
    internal static object? TryDefer(int op, ref CallArguments arguments) => DeferredGraph.Current?.TryDefer((DeferrableOp)ShimRegistry.Get(op), ref arguments);

    internal static bool IsDeferring() => DeferredGraph.Current is not null;

    /// <summary>A tensor, or an array of tensors, that leaves the copied code: it has its value now. Any other object stays as it is.</summary>
    internal static object? Concrete(object? value)
    {
        if (DeferredGraph.Current is { } graph) Compute(graph, value);
        return value;
    }

    internal static Tensor? ConcreteTensor(Tensor? value)
    {
        if (value is not null && TensorInternals.Handle(value) == 0) DeferredGraph.Current?.Compute(value);
        return value;
    }

    /// <summary>A variable that is passed by reference.</summary>
    internal static void ConcreteReference(ref object? place) => Concrete(place);

    internal static void ConcreteSpan(ReadOnlySpan<Tensor?> span)
    {
        foreach (var tensor in span) ConcreteTensor(tensor);
    }

    /// <summary>Computes all: something is about to happen that may change any tensor, or how ops are computed.</summary>
    internal static void ComputeAll() => DeferredGraph.Current?.ComputeAll();

    /// <summary>In place of a store into an array.</summary>
    internal static void StoreElement(object?[] array, nint index, object? value)
    {
        if (DeferredGraph.Current is { } graph && !ReferenceEquals(array, graph.Young.Array)) Compute(graph, value);
        array[index] = value;
    }

    /// <summary>In place of a store through a reference.</summary>
    internal static void StoreReference(ref object? place, object? value)
    {
        if (DeferredGraph.Current is { } graph && !(value is Tensor && graph.Young.Take(ref place))) Compute(graph, value);
        place = value;
    }

    /// <summary>In place of the making of an array of tensors.</summary>
    internal static Tensor?[] NewArray(nint length)
    {
        var array = new Tensor?[length];
        if (DeferredGraph.Current is { } graph) graph.Young.Array = array!;
        return array;
    }

    /// <summary>After the compiler's own way to an element of a span that lies on the stack.</summary>
    internal static ref Tensor? YoungElement(ref Tensor? element)
    {
        DeferredGraph.Current?.Young.Add(ref element);
        return ref element;
    }

    /// <summary>Before an object is disposed.</summary>
    internal static void Disposing(object? value)
    {
        if (DeferredGraph.Current is not { } graph) return;
        if (value is Tensor tensor) graph.Disposing(tensor);
        else if (value is DisposeScope scope) graph.Ending(scope);
        else if (value?.GetType().Assembly == OpClassifier.TorchSharp) graph.ComputeAll();
    }

    /// <summary>Before a call that moves tensors between scopes, or looks into one.</summary>
    internal static void LookingIntoScopes() => DeferredGraph.Current?.JoinScopes();

    /// <summary>In place of the method of this name.</summary>
    internal static Tensor MoveToOuterDisposeScope(Tensor tensor)
    {
        if (TensorInternals.Handle(tensor) != 0 || DeferredGraph.Current is null) return tensor.MoveToOuterDisposeScope();
        TensorInternals.MoveOut(tensor);
        return tensor;
    }

    /// <summary>A module's method begins.</summary>
    /// <returns>What to hand to <see cref="Leaving"/>.</returns>
    internal static int Entering()
    {
        if (DeferredGraph.Current is not { } graph) return 0;
        // An array of the caller's may outlive what the callee stores in it.
        graph.Young.Array = null;
        return graph.Mark;
    }

    /// <summary>A module's method ends.</summary>
    internal static void Leaving(int mark, object? result) => DeferredGraph.Current?.Leave(mark, result);

    /// <summary>Whether a tensor without a value is a batch of images as a module wants them.</summary>
    internal static bool AreImagesOf(object module, Tensor tensor) => Node(tensor) is { Shape.Length: 4 } node && module switch
    {
        TorchSharp.Modules.BatchNorm2d => true,
        TorchSharp.Modules.Conv2d convolution => node.Shape[1] == convolution.in_channels,
        _ => false,
    };

    internal static long[] Shape(Tensor tensor) => Node(tensor) is { } node ? [.. node.Shape] : tensor.shape;

    internal static long Size(Tensor tensor, int axis)
    {
        if (Node(tensor) is not { } node) return tensor.size(axis);
        var place = axis < 0 ? axis + node.Shape.Length : axis;
        return place >= 0 && place < node.Shape.Length ? node.Shape[place] : ConcreteTensor(tensor)!.size(axis);
    }

    internal static long Rank(Tensor tensor) => Node(tensor) is { } node ? node.Shape.Length : tensor.dim();

    /// <summary>Only tensors of this type are deferred.</summary>
    internal static ScalarType ElementType(Tensor tensor) => Node(tensor) is null ? tensor.dtype : ScalarType.Float32;

    private static DeferredNode? Node(Tensor tensor) => TensorInternals.Handle(tensor) == 0 ? DeferredGraph.Current?.Find(tensor) : null;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Compute(DeferredGraph graph, object? value)
    {
        if (value is Tensor tensor)
        {
            if (TensorInternals.Handle(tensor) == 0) graph.Compute(tensor);
        }
        else if (value is Tensor[] array)
        {
            ComputeArray(graph, array);
        }
    }

    private static void ComputeArray(DeferredGraph graph, Tensor?[] array)
    {
        // Whoever has the array now may store into it what is never looked at here.
        if (ReferenceEquals(array, graph.Young.Array)) graph.Young.Array = null;
        foreach (var tensor in array)
        {
            if (tensor is not null && TensorInternals.Handle(tensor) == 0) graph.Compute(tensor);
        }
    }
}
