using System.Collections.Concurrent;
using System.Reflection;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace QwixSharp.Interception;

/// <summary>Says which methods of TorchSharp are tensor ops.</summary>
internal static class OpClassifier
{
    /// <summary>Methods that return a tensor but only move ownership or read what is there.</summary>
    private static readonly HashSet<string> NotOps =
    [
        "op_Implicit", "op_Explicit", "get_grad",
        "MoveToOuterDisposeScope", "MoveToOtherDisposeScope", "DetachFromDisposeScope", "DetatchFromDisposeScope",
    ];

    private static readonly ConcurrentDictionary<MethodBase, bool> Known = new();

    internal static Assembly TorchSharp { get; } = typeof(torch).Assembly;

    /// <summary>Whether values of a type are tensors or hold some: arrays, tuples, lists, packed sequences.</summary>
    internal static bool CarriesTensor(Type type) =>
        typeof(Tensor).IsAssignableFrom(type)
        || type == typeof(torch.nn.utils.rnn.PackedSequence)
        || (type.HasElementType && CarriesTensor(type.GetElementType()!))
        || (type.IsGenericType && type.GetGenericArguments().Any(CarriesTensor));

    /// <summary>Whether a method is a tensor op that can be dispatched to an interceptor.</summary>
    internal static bool IsOp(MethodBase method) => Known.GetOrAdd(method, static m => Named(m) && m.GetParameters().All(CanTravel));

    /// <summary>Whether a method is a tensor op whose parameters cannot be handed over as objects, so that it stays unseen.</summary>
    internal static bool IsUnseenOp(MethodBase method) =>
        Named(method) && !method.GetParameters().All(CanTravel) && !method.GetParameters().Any(p => IsDelegate(p.ParameterType));

    internal static bool IsReadOnlySpan(Type type) => type.IsGenericType && type.GetGenericTypeDefinition() == typeof(ReadOnlySpan<>);

    internal static bool IsDelegate(Type type) => typeof(Delegate).IsAssignableFrom(type);

    /// <summary>Whether a parameter is declared as a sequence that may be computed while it is read.</summary>
    internal static bool IsSequence(Type type) => type.IsGenericType && type.GetGenericTypeDefinition() == typeof(IEnumerable<>);

    private static bool Named(MethodBase method)
    {
        if (method is not MethodInfo info || info.DeclaringType is not { } type || type.Assembly != TorchSharp) return false;
        if (NotOps.Contains(info.Name) || info.ContainsGenericParameters) return false;
        if (type == typeof(Tensor)) return CarriesTensor(info.ReturnType) || info.Name == "set_TensorItems";
        var isStaticClass = type.IsAbstract && type.IsSealed;
        return isStaticClass && info.IsPublic && CarriesTensor(info.ReturnType) && IsOpHolder(type);
    }

    /// <summary><c>torch</c> and the static classes in it, but not <c>torch.nn</c> itself, which makes modules.</summary>
    private static bool IsOpHolder(Type type) =>
        type == typeof(torch) || (type != typeof(torch.nn) && type.FullName!.StartsWith("TorchSharp.torch+", StringComparison.Ordinal));

    private static bool CanTravel(ParameterInfo parameter)
    {
        var type = parameter.ParameterType;
        return !type.IsByRef && !type.IsPointer && !IsDelegate(type) && (!type.IsByRefLike || IsReadOnlySpan(type));
    }
}
