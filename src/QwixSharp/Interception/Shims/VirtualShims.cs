using System.Collections.Concurrent;
using System.Reflection;
using System.Reflection.Emit;

namespace QwixSharp.Interception.Shims;

/// <summary>Methods that stand in place of virtual and interface calls: they find what the receiver's type would run, and run its copy.</summary>
internal sealed class VirtualShims(MethodRewriter rewriter)
{
    private readonly Dictionary<(MethodInfo Method, Type? Reference), DynamicMethod> _shims = [];

    /// <summary>The shim of a <c>callvirt</c>.</summary>
    internal DynamicMethod For(MethodInfo method) => For(method, null);

    /// <summary>The shim of a constrained <c>callvirt</c>: the receiver comes as a reference to a variable of a class type.</summary>
    internal DynamicMethod ForReference(MethodInfo method, Type variable) => For(method, variable);

    private DynamicMethod For(MethodInfo method, Type? variable)
    {
        lock (rewriter.Gate)
        {
            if (_shims.TryGetValue((method, variable), out var known)) return known;
            return _shims[(method, variable)] = Emit(method, variable);
        }
    }

    private DynamicMethod Emit(MethodInfo method, Type? variable)
    {
        Type[] open = [typeof(object), .. MethodShape.Parameters(method)];
        var openType = MethodShape.DelegateType(open, method.ReturnType);
        var slot = ShimRegistry.Add(new VirtualSlot(rewriter, method, openType));
        Type[] parameters = [variable?.MakeByRefType() ?? typeof(object), .. open[1..]];
        var shim = MethodShape.Dynamic("virtual " + MethodShape.DisplayName(method), method.ReturnType, parameters, method.Module);
        var il = shim.GetILGenerator();
        var target = il.DeclareLocal(openType);
        var original = il.DefineLabel();

        LoadReceiver();
        il.Emit(OpCodes.Ldc_I4, slot);
        il.Emit(OpCodes.Call, typeof(VirtualSlot).GetMethod(nameof(VirtualSlot.Resolve), BindingFlags.NonPublic | BindingFlags.Static)!);
        il.Emit(OpCodes.Stloc, target);
        il.Emit(OpCodes.Ldloc, target);
        il.Emit(OpCodes.Brfalse, original);
        il.Emit(OpCodes.Ldloc, target);
        LoadReceiver();
        MethodShape.LoadArguments(il, parameters.Length, from: 1);
        il.Emit(OpCodes.Callvirt, openType.GetMethod("Invoke")!);
        il.Emit(OpCodes.Ret);
        il.MarkLabel(original);
        LoadReceiver();
        for (var i = 1; i < parameters.Length; i++) OpaqueCallShims.LoadConcrete(il, i, parameters[i]);
        il.Emit(OpCodes.Callvirt, method);
        il.Emit(OpCodes.Ret);
        return shim;

        void LoadReceiver()
        {
            il.Emit(OpCodes.Ldarg_0);
            if (variable is not null) il.Emit(OpCodes.Ldind_Ref);
        }
    }
}

/// <summary>What one virtual method resolves to, by the receiver's type.</summary>
internal sealed class VirtualSlot(MethodRewriter rewriter, MethodInfo method, Type openType)
{
    private readonly Type _closedType = MethodShape.DelegateType(MethodShape.Parameters(method), method.ReturnType);
    private readonly ConcurrentDictionary<Type, Resolved> _targets = new();
    private Resolved? _last;

    /// <summary>The copy that a receiver runs, as an open delegate; null where the receiver's own method should run.</summary>
    /// <exception cref="NullReferenceException">There is no receiver, as in the call that this stands for.</exception>
    internal static Delegate? Resolve(object? receiver, int slot)
    {
        var type = (receiver ?? throw new NullReferenceException()).GetType();
        return ((VirtualSlot)ShimRegistry.Get(slot)).For(type, receiver);
    }

    private Delegate? For(Type type, object receiver)
    {
        // Most call sites see one type only.
        if (_last is { } last && ReferenceEquals(last.Type, type)) return last.Target;
        if (!_targets.TryGetValue(type, out var resolved)) resolved = _targets.GetOrAdd(type, new Resolved(type, Find(receiver)));
        _last = resolved;
        return resolved.Target;
    }

    private Delegate? Find(object receiver)
    {
        // A closed delegate makes the runtime itself resolve the call, with explicit implementations, new slots and variance.
        var resolved = method.CreateDelegate(_closedType, receiver).Method;
        lock (rewriter.Gate)
        {
            return rewriter.Redirect(resolved) is { } redirect ? Adapters.ObjectFirst(resolved, redirect).CreateDelegate(openType) : null;
        }
    }

    private sealed record Resolved(Type Type, Delegate? Target);
}
