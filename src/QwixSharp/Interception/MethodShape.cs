using System.Linq.Expressions;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;

namespace QwixSharp.Interception;

/// <summary>The signature that the copy of a method has, and small pieces of IL that all shims need.</summary>
internal static class MethodShape
{
    private static readonly ConditionalWeakTable<MethodInfo, object> Made = [];

    /// <summary>
    /// The parameter types of a method's copy. The instance comes first, as <see cref="object"/> (by reference for
    /// structs), so that one open delegate type serves a method and all its overrides.
    /// </summary>
    internal static Type[] CopyParameters(MethodBase method) => WithInstance(method, typeof(object));

    /// <summary>The parameter types of a call of the method: the instance first, in its own type.</summary>
    internal static Type[] CallParameters(MethodBase method) => WithInstance(method, method.DeclaringType!);

    internal static Type[] Parameters(MethodBase method) => [.. method.GetParameters().Select(p => p.ParameterType)];

    internal static Type ReturnType(MethodBase method) => method is MethodInfo info ? info.ReturnType : typeof(void);

    /// <summary>The same method as its declaring type gives it: reflection makes another object of it for each type that inherits it.</summary>
    internal static MethodBase Canonical(MethodBase method) => method.ReflectedType == method.DeclaringType || method.DeclaringType is null
        ? method
        : MethodBase.GetMethodFromHandle(method.MethodHandle, method.DeclaringType.TypeHandle)!;

    internal static string DisplayName(MethodBase method) => $"{method.DeclaringType?.Name}.{method.Name}";

    /// <summary>The delegate type for a signature, by-ref parameters included.</summary>
    internal static Type DelegateType(IEnumerable<Type> parameters, Type result) => Expression.GetDelegateType([.. parameters, result]);

    /// <summary>A dynamic method that may use the private members of all assemblies, as the code it stands for does.</summary>
    internal static DynamicMethod Dynamic(string name, Type result, Type[] parameters, Module module)
    {
        var method = new DynamicMethod(name, result, parameters, module, skipVisibility: true);
        Made.Add(method, method);
        return method;
    }

    /// <summary>Whether a method was made here.</summary>
    internal static bool IsOurs(MethodInfo method) => Made.TryGetValue(method, out _);

    internal static void LoadArguments(ILGenerator il, int count, int from = 0)
    {
        for (var i = from; i < count; i++) il.Emit(OpCodes.Ldarg, (short)i);
    }

    internal static void Call(ILGenerator il, MethodBase method)
    {
        if (method is ConstructorInfo constructor) il.Emit(OpCodes.Call, constructor);
        else il.Emit(method.IsStatic || method.DeclaringType!.IsValueType ? OpCodes.Call : OpCodes.Callvirt, (MethodInfo)method);
    }

    private static Type[] WithInstance(MethodBase method, Type instance)
    {
        if (method.IsStatic) return Parameters(method);
        return [method.DeclaringType!.IsValueType ? method.DeclaringType.MakeByRefType() : instance, .. Parameters(method)];
    }
}
