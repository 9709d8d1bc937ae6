using System.Reflection;
using System.Reflection.Emit;

namespace QwixSharp.Interception.Shims;

/// <summary>Methods that stand in place of the making of a delegate: the delegate runs the copy of its method.</summary>
internal sealed class DelegateShims(MethodRewriter rewriter)
{
    private readonly Dictionary<(MethodInfo Method, Type Type, bool IsVirtual), DynamicMethod> _shims = [];

    /// <summary>A method from a target object to a delegate.</summary>
    internal DynamicMethod For(MethodInfo method, Type type, bool isVirtual)
    {
        lock (rewriter.Gate)
        {
            if (_shims.TryGetValue((method, type, isVirtual), out var known)) return known;
            var recipe = ShimRegistry.Add(new DelegateRecipe(rewriter, method, type, isVirtual));
            var shim = MethodShape.Dynamic("delegate of " + MethodShape.DisplayName(method), type, [typeof(object)], typeof(DelegateShims).Module);
            var il = shim.GetILGenerator();
            il.Emit(OpCodes.Ldarg_0);
            il.Emit(OpCodes.Ldc_I4, recipe);
            il.Emit(OpCodes.Call, typeof(DelegateRecipe).GetMethod(nameof(DelegateRecipe.Make), BindingFlags.NonPublic | BindingFlags.Static)!);
            il.Emit(OpCodes.Castclass, type);
            il.Emit(OpCodes.Ret);
            return _shims[(method, type, isVirtual)] = shim;
        }
    }
}

/// <summary>How to make one kind of delegate.</summary>
internal sealed class DelegateRecipe(MethodRewriter rewriter, MethodInfo method, Type type, bool isVirtual)
{
    internal static Delegate Make(object? target, int recipe) => ((DelegateRecipe)ShimRegistry.Get(recipe)).Make(target);

    private Delegate Make(object? target)
    {
        if (isVirtual) return rewriter.Delegates.Rewrite(method.CreateDelegate(type, target))!;
        return rewriter.Bind(method, type, target) ?? method.CreateDelegate(type, target);
    }
}
