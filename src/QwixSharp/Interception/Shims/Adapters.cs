using System.Reflection;
using System.Reflection.Emit;
using QwixSharp.Interception.Deferred;

namespace QwixSharp.Interception.Shims;

/// <summary>Small methods between two signatures of the same call.</summary>
internal static class Adapters
{
    /// <summary>A method that takes the instance as an object and passes it on in the type that the target has for it.</summary>
    internal static DynamicMethod ObjectFirst(MethodInfo method, DynamicMethod target)
    {
        var parameters = target.GetParameters().Select(p => p.ParameterType).ToArray();
        if (method.IsStatic || parameters[0] == typeof(object)) return target;
        var instance = parameters[0];
        parameters[0] = typeof(object);
        var adapter = MethodShape.Dynamic(target.Name, method.ReturnType, parameters, method.Module);
        var il = adapter.GetILGenerator();
        il.Emit(OpCodes.Ldarg_0);
        if (instance.IsByRef) il.Emit(OpCodes.Unbox, instance.GetElementType()!);
        else il.Emit(OpCodes.Castclass, instance);
        MethodShape.LoadArguments(il, parameters.Length, from: 1);
        il.Emit(OpCodes.Call, target);
        il.Emit(OpCodes.Ret);
        return adapter;
    }

    /// <summary>A method that takes the instance as an object and runs a method that has nothing to redirect.</summary>
    internal static DynamicMethod Original(MethodInfo method)
    {
        var parameters = MethodShape.CopyParameters(method);
        var adapter = MethodShape.Dynamic(MethodShape.DisplayName(method), method.ReturnType, parameters, method.Module);
        var il = adapter.GetILGenerator();
        il.Emit(OpCodes.Ldarg_0);
        if (!method.DeclaringType!.IsValueType) il.Emit(OpCodes.Castclass, method.DeclaringType);
        for (var i = 1; i < parameters.Length; i++) OpaqueCallShims.LoadConcrete(il, i, parameters[i]);
        MethodShape.Call(il, method);
        il.Emit(OpCodes.Ret);
        return adapter;
    }

    /// <summary>A method for callers that are not copied: what it returns has its value.</summary>
    internal static DynamicMethod ConcreteResult(DynamicMethod target)
    {
        if (!OpaqueCallShims.MayHold(target.ReturnType)) return target;
        var parameters = target.GetParameters().Select(p => p.ParameterType).ToArray();
        var adapter = MethodShape.Dynamic(target.Name, target.ReturnType, parameters, typeof(Adapters).Module);
        var il = adapter.GetILGenerator();
        MethodShape.LoadArguments(il, parameters.Length);
        il.Emit(OpCodes.Call, target);
        il.Emit(OpCodes.Call, OpaqueCallShims.Helper(nameof(Deferral.Concrete)));
        if (target.ReturnType != typeof(object)) il.Emit(OpCodes.Castclass, target.ReturnType);
        il.Emit(OpCodes.Ret);
        return adapter;
    }

    /// <summary>A method with the signature of a module's method that runs a static one in its place.</summary>
    /// <param name="method">The module's method.</param>
    /// <param name="replacement">The static method that stands for it.</param>
    /// <param name="copy">The copy of <paramref name="replacement"/>, or null where it has nothing to redirect.</param>
    internal static DynamicMethod Replacement(MethodInfo method, MethodInfo replacement, DynamicMethod? copy)
    {
        var parameters = MethodShape.CopyParameters(method);
        var adapter = MethodShape.Dynamic(MethodShape.DisplayName(method), method.ReturnType, parameters, method.Module);
        var il = adapter.GetILGenerator();
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Castclass, replacement.GetParameters()[0].ParameterType);
        MethodShape.LoadArguments(il, parameters.Length, from: 1);
        il.Emit(OpCodes.Call, copy ?? replacement);
        il.Emit(OpCodes.Ret);
        return adapter;
    }
}
