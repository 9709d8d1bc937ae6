using System.Reflection;
using System.Reflection.Emit;
using QwixSharp.Interception.Shims;

namespace QwixSharp.Interception;

/// <summary>Decides for each call in a copied method which shim stands in its place, if any.</summary>
internal sealed class CallRedirector(MethodRewriter rewriter)
{
    private readonly DelegateShims _delegates = new(rewriter);
    private readonly ForeignCallShims _foreign = new(rewriter);
    private readonly ConstructorShims _constructors = new(rewriter);
    private readonly OpaqueCallShims _opaque = new(rewriter);

    internal VirtualShims Virtual { get; } = new(rewriter);

    internal LambdaCacheShims LambdaCaches { get; } = new();

    /// <summary>The shim for a <c>call</c>, <c>callvirt</c> or <c>newobj</c>, or null where it stays as it is.</summary>
    /// <param name="opCode">The instruction.</param>
    /// <param name="called">The method that it names.</param>
    /// <param name="constraint">The type of a <c>constrained.</c> prefix, or null.</param>
    internal DynamicMethod? For(OpCode opCode, MethodBase called, Type? constraint) =>
        opCode == OpCodes.Newobj || opCode == OpCodes.Call || opCode == OpCodes.Callvirt
            ? Known(opCode, called, constraint) ?? _opaque.For(opCode, called, constraint)
            : null;

    private DynamicMethod? Known(OpCode opCode, MethodBase called, Type? constraint)
    {
        if (opCode == OpCodes.Newobj) return _constructors.For((ConstructorInfo)called) ?? _foreign.For(called);
        if (called is ConstructorInfo constructor) return rewriter.Redirect(constructor);
        var method = (MethodInfo)called;
        if (constraint is not null) return Constrained(method, constraint);
        if (opCode == OpCodes.Callvirt && MethodClassifier.NeedsDispatch(method)) return Virtual.For(method);
        return rewriter.Redirect(method) ?? _foreign.For(method);
    }

    /// <summary>The shim that makes a delegate of a method, or null where the method's delegates stay as they are.</summary>
    internal DynamicMethod? ForDelegate(MethodBase target, Type delegateType, bool isVirtual)
    {
        if (target is not MethodInfo method) return null;
        var dispatched = isVirtual && MethodClassifier.NeedsDispatch(method);
        return dispatched || rewriter.Redirect(method) is not null ? _delegates.For(method, delegateType, isVirtual) : null;
    }

    private DynamicMethod? Constrained(MethodInfo method, Type constraint)
    {
        if (method.IsStatic || constraint.IsValueType)
            return Implementation(method, constraint) is { } target ? rewriter.Redirect(target) : null;
        var dispatched = MethodClassifier.NeedsDispatch(method) || OpClassifier.IsOp(method) || MethodClassifier.IsRewritable(method);
        return dispatched ? Virtual.ForReference(method, constraint) : null;
    }

    /// <summary>The method of a type that implements an interface's method; null where it is the interface's own or none.</summary>
    internal static MethodInfo? Implementation(MethodInfo method, Type type)
    {
        if (method.DeclaringType is not { IsInterface: true } contract || !MethodClassifier.IsModelType(type) || type.IsInterface) return null;
        var map = type.GetInterfaceMap(contract);
        var definition = method.IsGenericMethod ? method.GetGenericMethodDefinition() : method;
        var index = Array.FindIndex(map.InterfaceMethods, m => m.MetadataToken == definition.MetadataToken && m.Module == definition.Module);
        if (index < 0) return null;
        var target = map.TargetMethods[index];

        // A struct's copy takes the struct by reference, which the interface's own body would not accept.
        if (type.IsValueType && !method.IsStatic && target.DeclaringType != type) return null;
        return method.IsGenericMethod ? target.MakeGenericMethod(method.GetGenericArguments()) : target;
    }
}
