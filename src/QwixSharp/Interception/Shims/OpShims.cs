using System.Reflection;
using System.Reflection.Emit;
using QwixSharp.Interception.Deferred;

namespace QwixSharp.Interception.Shims;

/// <summary>
/// Methods that stand in place of tensor ops. Each asks whether the ambient interceptor wants the op; if not it calls
/// the op with its arguments as they are, and only if so it puts them into an array.
/// </summary>
internal static class OpShims
{
    private static readonly Lock Gate = new();
    private static readonly Dictionary<MethodInfo, (OpDescriptor Op, int Id)> Descriptors = [];

    /// <summary>The shim of an op; its parameters are those of a call of the op, the instance first.</summary>
    internal static DynamicMethod ForOp(MethodInfo op, int rewriter) => Emit(op, MethodShape.CallParameters(op), rewriter);

    /// <summary>The shim of a native module's method, which is one op as a whole; the module is an object here.</summary>
    internal static DynamicMethod ForNativeModule(MethodInfo method, int rewriter) => Emit(method, MethodShape.CopyParameters(method), rewriter);

    private static DynamicMethod Emit(MethodInfo op, Type[] parameters, int rewriter)
    {
        var id = Describe(op).Id;
        var deferrable = DeferrableOp.Of(op);
        var shim = MethodShape.Dynamic("op " + MethodShape.DisplayName(op), op.ReturnType, parameters, op.Module);
        var il = shim.GetILGenerator();
        var scope = il.DeclareLocal(typeof(InterceptionScope));
        var wanted = il.DefineLabel();
        MaterializeSequences(il, parameters, rewriter);
        if (deferrable is not null) Defer(il, op, parameters, deferrable);
        ComputeArguments(il, op, parameters);
        LoadDescriptor(il, id);
        il.Emit(OpCodes.Call, Method(typeof(InterceptionScope), nameof(InterceptionScope.Wanting)));
        il.Emit(OpCodes.Stloc, scope);
        il.Emit(OpCodes.Ldloc, scope);
        il.Emit(OpCodes.Brtrue, wanted);
        MethodShape.LoadArguments(il, parameters.Length);
        il.Emit(OpCodes.Call, op);
        il.Emit(OpCodes.Ret);
        il.MarkLabel(wanted);
        il.Emit(OpCodes.Ldloc, scope);
        LoadDescriptor(il, id);
        BoxArguments(il, parameters);
        il.Emit(OpCodes.Call, op.ReturnType == typeof(void)
            ? Method(typeof(InterceptionScope), nameof(InterceptionScope.DispatchVoid))
            : Method(typeof(InterceptionScope), nameof(InterceptionScope.Dispatch)).MakeGenericMethod(op.ReturnType));
        il.Emit(OpCodes.Ret);
        return shim;
    }

    /// <summary>Where ops are deferred, this one may be: then its result comes without a value.</summary>
    private static void Defer(ILGenerator il, MethodInfo op, Type[] parameters, DeferrableOp deferrable)
    {
        var now = il.DefineLabel();
        var arguments = il.DeclareLocal(typeof(CallArguments));
        var result = il.DeclareLocal(typeof(object));
        il.Emit(OpCodes.Call, OpaqueCallShims.Helper(nameof(Deferral.IsDeferring)));
        il.Emit(OpCodes.Brfalse, now);
        SetArguments(il, parameters, arguments);
        il.Emit(OpCodes.Ldc_I4, ShimRegistry.Add(deferrable));
        il.Emit(OpCodes.Ldloca, arguments);
        il.Emit(OpCodes.Call, OpaqueCallShims.Helper(nameof(Deferral.TryDefer)));
        il.Emit(OpCodes.Stloc, result);
        il.Emit(OpCodes.Ldloc, result);
        il.Emit(OpCodes.Brfalse, now);
        il.Emit(OpCodes.Ldloc, result);
        OpaqueCallShims.Assume(il, op.ReturnType);
        il.Emit(OpCodes.Ret);
        il.MarkLabel(now);
    }

    private static void SetArguments(ILGenerator il, Type[] parameters, LocalBuilder arguments)
    {
        if (parameters.Length > CallArguments.MostPlaces)
        {
            il.Emit(OpCodes.Ldloca, arguments);
            BoxArguments(il, parameters);
            il.Emit(OpCodes.Call, Method(typeof(CallArguments), nameof(CallArguments.SetAll)));
            return;
        }

        for (var i = 0; i < parameters.Length; i++)
        {
            il.Emit(OpCodes.Ldloca, arguments);
            il.Emit(OpCodes.Ldc_I4, i);
            if (!CallArguments.IsNumber(parameters[i]))
            {
                LoadBoxed(il, i, parameters[i]);
                il.Emit(OpCodes.Call, Method(typeof(CallArguments), nameof(CallArguments.Set)));
                continue;
            }

            var isReal = parameters[i] == typeof(double) || parameters[i] == typeof(float);
            il.Emit(OpCodes.Ldarg, (short)i);
            il.Emit(isReal ? OpCodes.Conv_R8 : OpCodes.Conv_I8);
            il.Emit(OpCodes.Call, Method(typeof(CallArguments), isReal ? nameof(CallArguments.SetReal) : nameof(CallArguments.SetInteger)));
        }
    }

    /// <summary>An op that is called now needs the values of its arguments; one that writes to them, all that was computed of the old ones.</summary>
    private static void ComputeArguments(ILGenerator il, MethodInfo op, Type[] parameters)
    {
        for (var i = 0; i < parameters.Length; i++)
        {
            if (!OpaqueCallShims.IsPassedOn(parameters[i])) continue;
            OpaqueCallShims.LoadConcrete(il, i, parameters[i]);
            if (parameters[i].IsByRef) il.Emit(OpCodes.Pop);
            else il.Emit(OpCodes.Starg, (short)i);
        }

        if (!TorchSharpCalls.WritesInPlace(op, out var flag)) return;
        var keeps = il.DefineLabel();
        if (flag is { } parameter)
        {
            il.Emit(OpCodes.Ldarg, (short)(parameter + (op.IsStatic ? 0 : 1)));
            il.Emit(OpCodes.Brfalse, keeps);
        }

        il.Emit(OpCodes.Call, OpaqueCallShims.Helper(nameof(Deferral.ComputeAll)));
        il.MarkLabel(keeps);
    }

    /// <summary>One descriptor an op in the whole process, so that its number can index tables.</summary>
    internal static (OpDescriptor Op, int Id) Describe(MethodInfo op)
    {
        lock (Gate)
        {
            if (Descriptors.TryGetValue(op, out var known)) return known;
            var descriptor = new OpDescriptor(Descriptors.Count, op, Original(op));
            return Descriptors[op] = (descriptor, ShimRegistry.Add(descriptor));
        }
    }

    /// <summary>The op itself, called with an array of arguments.</summary>
    private static Func<object?[], object?> Original(MethodInfo op)
    {
        var parameters = MethodShape.CallParameters(op);
        var original = MethodShape.Dynamic(MethodShape.DisplayName(op), typeof(object), [typeof(object?[])], op.Module);
        var il = original.GetILGenerator();
        for (var i = 0; i < parameters.Length; i++)
        {
            il.Emit(OpCodes.Ldarg_0);
            il.Emit(OpCodes.Ldc_I4, i);
            il.Emit(OpCodes.Ldelem_Ref);
            if (OpClassifier.IsReadOnlySpan(parameters[i]))
            {
                var array = parameters[i].GetGenericArguments()[0].MakeArrayType();
                il.Emit(OpCodes.Castclass, array);
                il.Emit(OpCodes.Newobj, parameters[i].GetConstructor([array])!);
            }
            else
            {
                il.Emit(OpCodes.Unbox_Any, parameters[i]);
            }
        }

        il.Emit(OpCodes.Call, op);
        if (op.ReturnType == typeof(void)) il.Emit(OpCodes.Ldnull);
        else if (op.ReturnType.IsValueType) il.Emit(OpCodes.Box, op.ReturnType);
        il.Emit(OpCodes.Ret);
        return original.CreateDelegate<Func<object?[], object?>>();
    }

    /// <summary>A sequence is read before the op: ops that compute its elements come before the op that takes them.</summary>
    private static void MaterializeSequences(ILGenerator il, Type[] parameters, int rewriter)
    {
        for (var i = 0; i < parameters.Length; i++)
        {
            if (!OpClassifier.IsSequence(parameters[i])) continue;
            il.Emit(OpCodes.Ldarg, (short)i);
            il.Emit(OpCodes.Ldc_I4, rewriter);
            il.Emit(OpCodes.Call, Method(typeof(Sequences), nameof(Sequences.Materialize)).MakeGenericMethod(parameters[i].GetGenericArguments()));
            il.Emit(OpCodes.Starg, (short)i);
        }
    }

    private static void BoxArguments(ILGenerator il, Type[] parameters)
    {
        il.Emit(OpCodes.Ldc_I4, parameters.Length);
        il.Emit(OpCodes.Newarr, typeof(object));
        for (var i = 0; i < parameters.Length; i++)
        {
            il.Emit(OpCodes.Dup);
            il.Emit(OpCodes.Ldc_I4, i);
            LoadBoxed(il, i, parameters[i]);
            il.Emit(OpCodes.Stelem_Ref);
        }
    }

    private static void LoadBoxed(ILGenerator il, int index, Type type)
    {
        if (OpClassifier.IsReadOnlySpan(type))
        {
            il.Emit(OpCodes.Ldarga, (short)index);
            il.Emit(OpCodes.Call, type.GetMethod(nameof(ReadOnlySpan<int>.ToArray))!);
            return;
        }

        il.Emit(OpCodes.Ldarg, (short)index);
        if (type.IsValueType) il.Emit(OpCodes.Box, type);
    }

    private static void LoadDescriptor(ILGenerator il, int id)
    {
        il.Emit(OpCodes.Ldc_I4, id);
        il.Emit(OpCodes.Call, Method(typeof(ShimRegistry), nameof(ShimRegistry.Get)));
    }

    private static MethodInfo Method(Type type, string name) =>
        type.GetMethod(name, BindingFlags.NonPublic | BindingFlags.Static | BindingFlags.Instance)!;
}
