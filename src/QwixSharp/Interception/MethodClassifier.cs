using System.Collections.Concurrent;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using QwixSharp.Interception.NativeModules;
using TorchSharp;

namespace QwixSharp.Interception;

/// <summary>Says which methods are copied, which calls are dispatched by the receiver's type, and which modules are native.</summary>
internal static class MethodClassifier
{
    private const string NativeModulesNamespace = "QwixSharp.Interception.NativeModules";

    /// <summary>No method with so few bytes of IL can do more than read a field and return it.</summary>
    private const int AccessorSize = 16;

    private static readonly ConcurrentDictionary<Assembly, bool> ModelAssemblies = new();

    /// <summary>Whether an assembly may hold model code: it refers to TorchSharp and is neither TorchSharp nor this library.</summary>
    internal static bool IsModelAssembly(Assembly assembly) => ModelAssemblies.GetOrAdd(assembly, static a =>
        a != OpClassifier.TorchSharp && a != typeof(MethodClassifier).Assembly
        && (a.IsDynamic || a.GetReferencedAssemblies().Any(name => name.Name == OpClassifier.TorchSharp.GetName().Name)));

    internal static bool IsModule(Type type) => typeof(torch.nn.Module).IsAssignableFrom(type);

    /// <summary>Whether a type's code is copied: a model's, or this library's managed equivalent of a native module.</summary>
    internal static bool IsModelType(Type type) =>
        IsModelAssembly(type.Assembly)
        || (type.Assembly == typeof(MethodClassifier).Assembly && IsInNativeModules(type.Namespace) && !IsMarked(type));

    /// <summary>Whether a method's IL can be copied and is worth it.</summary>
    internal static bool IsRewritable(MethodInfo method)
    {
        if (method.DeclaringType is not { } type || !HasIl(method) || OpClassifier.IsOp(method)) return false;
        if (type.Assembly == OpClassifier.TorchSharp) return IsTorchSharpModuleMethod(method) && !method.IsSpecialName;
        return IsModelType(type) && !IsAsync(method) && !method.IsDefined(typeof(NotInterceptedAttribute)) && !type.Name.StartsWith("<PrivateImplementationDetails>", StringComparison.Ordinal);
    }

    /// <summary>Whether a constructor's IL can be copied and is worth it. Modules are made as they are: making one is not a forward pass.</summary>
    internal static bool IsRewritable(ConstructorInfo constructor)
    {
        var type = constructor.DeclaringType!;
        return !constructor.IsStatic && HasIl(constructor) && IsModelType(type) && !type.IsArray && !IsModule(type)
            && !OpClassifier.IsDelegate(type) && !type.Name.StartsWith('<') && !IsLeaf(constructor);
    }

    /// <summary>Whether a method of a TorchSharp module computes: <c>forward</c>, <c>call</c> and helpers that return tensors.</summary>
    internal static bool IsTorchSharpModuleMethod(MethodInfo method) =>
        method.DeclaringType is { } type && type.Assembly == OpClassifier.TorchSharp && IsModule(type)
        && (IsForward(method) || method.Name == "call" || OpClassifier.CarriesTensor(method.ReturnType));

    internal static bool IsForward(MethodBase method) => method.Name == "forward" && method.DeclaringType is { } type && IsModule(type);

    internal static bool IsAsync(MethodInfo method) => method.GetCustomAttribute<AsyncStateMachineAttribute>() is not null
        || method.GetCustomAttribute<AsyncIteratorStateMachineAttribute>() is not null;

    /// <summary>Whether which method runs depends on the receiver, and any of the candidates may be model code.</summary>
    internal static bool NeedsDispatch(MethodInfo method)
    {
        if (!method.IsVirtual || method.IsFinal) return false;
        var type = method.DeclaringType!;
        if (IsModelType(type)) return true;
        if (type.Assembly == OpClassifier.TorchSharp) return IsForward(method) || (type.IsInterface && method.Name == "call");
        return type.IsInterface && (IsCollection(type) || (type.IsGenericType && type.GetGenericArguments().Any(OpClassifier.CarriesTensor)));
    }

    /// <summary>Whether a TorchSharp module's method goes straight to native code: nothing in it can be seen op by op.</summary>
    internal static bool RunsNatively(MethodInfo method)
    {
        if (!IsTorchSharpModuleMethod(method) || method.Name is not ("forward" or "call") || IlBody.Of(method) is not { } body) return false;
        var native = false;
        foreach (var called in CalledMethods(body))
        {
            if (called.Name is "call" or "forward" && IsModule(called.DeclaringType!)) return false;
            native |= called.Name.StartsWith("THS", StringComparison.Ordinal) && !called.Name.StartsWith("THSNN_Module_", StringComparison.Ordinal);
        }

        return native;
    }

    /// <summary>Whether a method calls nothing: it can stay as it is, and be inlined.</summary>
    internal static bool IsLeaf(MethodBase method) => IlBody.Of(method) is { } body
        && !body.Instructions().Any(i => i.OpCode.OperandType is OperandType.InlineMethod or OperandType.InlineSig);

    /// <summary>Whether the ops of a method belong to the module it is called on.</summary>
    internal static bool EntersModule(MethodInfo method) => !method.IsStatic && IsModule(method.DeclaringType!)
        && !(method.IsSpecialName && method.GetMethodBody()?.GetILAsByteArray()?.Length <= AccessorSize);

    internal static IEnumerable<MethodBase> CalledMethods(IlBody body) =>
        body.Instructions().Where(i => i.OpCode.OperandType == OperandType.InlineMethod).Select(i => body.ResolveMethod(i.Token));

    internal static bool HasIl(MethodBase method) => !method.IsAbstract && !method.ContainsGenericParameters
        && (method.Attributes & MethodAttributes.PinvokeImpl) == 0
        && (method.MethodImplementationFlags & (MethodImplAttributes.InternalCall | MethodImplAttributes.Runtime)) == 0;

    private static bool IsInNativeModules(string? space) => space is not null
        && (space == NativeModulesNamespace || space.StartsWith(NativeModulesNamespace + ".", StringComparison.Ordinal));

    /// <summary>Whether a type, or one around it, is marked to stay as it is: it may run the native modules themselves.</summary>
    private static bool IsMarked(Type type)
    {
        for (Type? outer = type; outer is not null; outer = outer.DeclaringType)
        {
            if (outer.IsDefined(typeof(NotInterceptedAttribute)))
                return true;
        }

        return false;
    }

    private static bool IsCollection(Type type) => type.Namespace?.StartsWith("System.Collections", StringComparison.Ordinal) == true;
}
