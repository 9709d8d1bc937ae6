using System.Reflection;
using System.Reflection.Emit;
using QwixSharp.Interception.Deferred;

namespace QwixSharp.Interception.Shims;

/// <summary>Methods that enter a module's scope, run a method of the module, and leave the scope.</summary>
internal static class ScopeShims
{
    private static readonly MethodInfo Enter = typeof(InterceptionScope).GetMethod(nameof(InterceptionScope.EnterModule), BindingFlags.NonPublic | BindingFlags.Static)!;
    private static readonly MethodInfo Leave = typeof(InterceptionScope).GetMethod(nameof(InterceptionScope.Leave), BindingFlags.NonPublic | BindingFlags.Static)!;

    /// <summary>What runs <paramref name="body"/> in the scope of its module, where the method has one.</summary>
    /// <param name="method">The method that <paramref name="body"/> stands for.</param>
    /// <param name="body">The copy; it may still be empty.</param>
    internal static DynamicMethod For(MethodInfo method, DynamicMethod body)
    {
        if (!MethodClassifier.EntersModule(method)) return OpaqueCallShims.MayHold(method.ReturnType) ? Frame(method, body) : body;
        var parameters = MethodShape.CopyParameters(method);
        var shim = MethodShape.Dynamic("scope of " + MethodShape.DisplayName(method), method.ReturnType, parameters, method.Module);
        var il = shim.GetILGenerator();
        var previous = il.DeclareLocal(typeof(InterceptionScope));
        var result = method.ReturnType == typeof(void) ? null : il.DeclareLocal(method.ReturnType);
        var mark = il.DeclareLocal(typeof(int));
        var entered = il.DefineLabel();
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Call, Enter);
        il.Emit(OpCodes.Stloc, previous);
        il.Emit(OpCodes.Ldloc, previous);
        il.Emit(OpCodes.Brtrue, entered);
        MethodShape.LoadArguments(il, parameters.Length);
        il.Emit(OpCodes.Call, body);
        il.Emit(OpCodes.Ret);
        il.MarkLabel(entered);
        il.Emit(OpCodes.Call, OpaqueCallShims.Helper(nameof(Deferral.Entering)));
        il.Emit(OpCodes.Stloc, mark);
        il.BeginExceptionBlock();
        MethodShape.LoadArguments(il, parameters.Length);
        il.Emit(OpCodes.Call, body);
        if (result is not null) il.Emit(OpCodes.Stloc, result);
        il.Emit(OpCodes.Ldloc, mark);
        if (result is null || method.ReturnType.IsValueType || method.ReturnType.IsByRef || method.ReturnType.IsPointer) il.Emit(OpCodes.Ldnull);
        else il.Emit(OpCodes.Ldloc, result);
        il.Emit(OpCodes.Call, OpaqueCallShims.Helper(nameof(Deferral.Leaving)));
        il.BeginFinallyBlock();
        il.Emit(OpCodes.Ldloc, previous);
        il.Emit(OpCodes.Call, Leave);
        il.EndExceptionBlock();
        if (result is not null) il.Emit(OpCodes.Ldloc, result);
        il.Emit(OpCodes.Ret);
        return shim;
    }

    /// <summary>What runs <paramref name="body"/> and then lets go of the deferred tensors that only its locals had.</summary>
    private static DynamicMethod Frame(MethodInfo method, DynamicMethod body)
    {
        var parameters = MethodShape.CopyParameters(method);
        var shim = MethodShape.Dynamic("frame of " + MethodShape.DisplayName(method), method.ReturnType, parameters, method.Module);
        var il = shim.GetILGenerator();
        var mark = il.DeclareLocal(typeof(int));
        var result = il.DeclareLocal(method.ReturnType);
        il.Emit(OpCodes.Call, OpaqueCallShims.Helper(nameof(Deferral.Entering)));
        il.Emit(OpCodes.Stloc, mark);
        MethodShape.LoadArguments(il, parameters.Length);
        il.Emit(OpCodes.Call, body);
        il.Emit(OpCodes.Stloc, result);
        il.Emit(OpCodes.Ldloc, mark);
        il.Emit(OpCodes.Ldloc, result);
        il.Emit(OpCodes.Call, OpaqueCallShims.Helper(nameof(Deferral.Leaving)));
        il.Emit(OpCodes.Ldloc, result);
        il.Emit(OpCodes.Ret);
        return shim;
    }
}
