using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;

namespace QwixSharp.Interception.Shims;

/// <summary>Methods that stand in place of <c>newobj</c>: they make an empty object and run the copy of the constructor on it.</summary>
internal sealed class ConstructorShims(MethodRewriter rewriter)
{
    private readonly Dictionary<ConstructorInfo, DynamicMethod> _shims = [];

    /// <summary>The shim of the making of an object, or null where the constructor has nothing to redirect.</summary>
    internal DynamicMethod? For(ConstructorInfo constructor)
    {
        lock (rewriter.Gate)
        {
            if (_shims.TryGetValue(constructor, out var known)) return known;
            if (rewriter.Redirect(constructor) is not { } copy) return null;
            return _shims[constructor] = Emit(constructor, copy);
        }
    }

    private static DynamicMethod Emit(ConstructorInfo constructor, DynamicMethod copy)
    {
        var type = constructor.DeclaringType!;
        var parameters = MethodShape.Parameters(constructor);
        var shim = MethodShape.Dynamic("new " + type.Name, type, parameters, constructor.Module);
        var il = shim.GetILGenerator();
        var made = il.DeclareLocal(type);
        if (!type.IsValueType)
        {
            il.Emit(OpCodes.Ldtoken, type);
            il.Emit(OpCodes.Call, typeof(Type).GetMethod(nameof(Type.GetTypeFromHandle))!);
            il.Emit(OpCodes.Call, typeof(RuntimeHelpers).GetMethod(nameof(RuntimeHelpers.GetUninitializedObject))!);
            il.Emit(OpCodes.Castclass, type);
            il.Emit(OpCodes.Stloc, made);
        }

        il.Emit(type.IsValueType ? OpCodes.Ldloca : OpCodes.Ldloc, made);
        MethodShape.LoadArguments(il, parameters.Length);
        il.Emit(OpCodes.Call, copy);
        il.Emit(OpCodes.Ldloc, made);
        il.Emit(OpCodes.Ret);
        return shim;
    }
}
