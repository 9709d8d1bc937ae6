using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;

namespace QwixSharp.Interception.Shims;

/// <summary>Reads and writes of private cells, in place of the static fields in which C# keeps delegates of lambdas.</summary>
internal sealed class LambdaCacheShims
{
    private readonly Dictionary<(RuntimeFieldHandle Field, Type Owner), int> _cells = [];

    internal DynamicMethod Load(FieldInfo field) => Emit(field, il =>
    {
        il.Emit(OpCodes.Ldfld, typeof(StrongBox<object>).GetField(nameof(StrongBox<>.Value))!);
        il.Emit(OpCodes.Castclass, field.FieldType);
    }, field.FieldType, []);

    internal DynamicMethod Store(FieldInfo field) => Emit(field, il =>
    {
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Stfld, typeof(StrongBox<object>).GetField(nameof(StrongBox<>.Value))!);
    }, typeof(void), [field.FieldType]);

    private DynamicMethod Emit(FieldInfo field, Action<ILGenerator> access, Type result, Type[] parameters)
    {
        var key = (field.FieldHandle, field.DeclaringType!);
        if (!_cells.TryGetValue(key, out var cell)) _cells[key] = cell = ShimRegistry.Add(new StrongBox<object?>());
        var shim = MethodShape.Dynamic("cell of " + field.Name, result, parameters, typeof(LambdaCacheShims).Module);
        var il = shim.GetILGenerator();
        il.Emit(OpCodes.Ldc_I4, cell);
        il.Emit(OpCodes.Call, typeof(ShimRegistry).GetMethod(nameof(ShimRegistry.Get), BindingFlags.NonPublic | BindingFlags.Static)!);
        access(il);
        il.Emit(OpCodes.Ret);
        return shim;
    }
}
