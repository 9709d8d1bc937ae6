using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using QwixSharp.Interception.Deferred;
using Tensor = TorchSharp.torch.Tensor;

namespace QwixSharp.Interception.Shims;

/// <summary>
/// Methods that stand in place of calls of code that is not copied: tensors whose ops are deferred get their values first.
/// </summary>
internal sealed class OpaqueCallShims(MethodRewriter rewriter)
{
    private static readonly HashSet<string> OwnershipMethods =
    [
        "MoveToOuterDisposeScope", "MoveToOtherDisposeScope", "DetachFromDisposeScope", "DetatchFromDisposeScope",
        "MoveToOuter", "MoveToOther", "Detach", "Attach", "Contains", "get_DisposablesView", "get_DisposablesCount",
    ];

    /// <summary>Methods of a tensor that are answered without its value.</summary>
    private static readonly Dictionary<string, string> Answers = new()
    {
        ["get_shape"] = nameof(Deferral.Shape),
        ["size"] = nameof(Deferral.Size),
        ["dim"] = nameof(Deferral.Rank),
        ["get_ndim"] = nameof(Deferral.Rank),
        ["get_Dimensions"] = nameof(Deferral.Rank),
        ["get_dtype"] = nameof(Deferral.ElementType),
        ["MoveToOuterDisposeScope"] = nameof(Deferral.MoveToOuterDisposeScope),
    };

    /// <summary>A cast that costs nothing: what it is given is what was passed in.</summary>
    private static readonly MethodInfo SameObject = typeof(Unsafe).GetMethod(nameof(Unsafe.As), 1, [typeof(object)])!;

    private readonly Dictionary<(MethodBase Method, OpCode OpCode, Type? Constraint), DynamicMethod?> _shims = [];

    /// <summary>The shim of a call, or null where no tensor is passed on.</summary>
    /// <param name="opCode"><c>call</c>, <c>callvirt</c> or <c>newobj</c>.</param>
    /// <param name="called">The method.</param>
    /// <param name="constraint">The type of a <c>constrained.</c> prefix, or null.</param>
    internal DynamicMethod? For(OpCode opCode, MethodBase called, Type? constraint)
    {
        lock (rewriter.Gate)
        {
            if (_shims.TryGetValue((called, opCode, constraint), out var known)) return known;
            return _shims[(called, opCode, constraint)] = Make(opCode, called, constraint);
        }
    }

    /// <summary>Whether a variable of a type may refer to a tensor or to an array of tensors.</summary>
    internal static bool MayHold(Type type) => !type.IsValueType && !type.IsPointer && !type.IsByRef
        && (typeof(Tensor).IsAssignableFrom(type) || type.IsAssignableFrom(typeof(Tensor)) || type.IsAssignableFrom(typeof(Tensor[])));

    /// <summary>Emits the argument as what others may see, in place of a plain <c>ldarg</c>.</summary>
    internal static void LoadConcrete(ILGenerator il, int index, Type type)
    {
        if (type.IsByRef && MayHold(type.GetElementType()!))
        {
            il.Emit(OpCodes.Ldarg, (short)index);
            il.Emit(OpCodes.Call, Helper(nameof(Deferral.ConcreteReference)));
        }
        else if (IsTensorSpan(type))
        {
            il.Emit(OpCodes.Ldarg, (short)index);
            if (type.GetGenericTypeDefinition() == typeof(Span<>)) il.Emit(OpCodes.Call, type.GetMethod("op_Implicit", [type])!);
            il.Emit(OpCodes.Call, Helper(nameof(Deferral.ConcreteSpan)));
        }

        il.Emit(OpCodes.Ldarg, (short)index);
        if (typeof(Tensor).IsAssignableFrom(type)) il.Emit(OpCodes.Call, Helper(nameof(Deferral.ConcreteTensor)));
        else if (MayHold(type)) il.Emit(OpCodes.Call, Helper(nameof(Deferral.Concrete)));
        else return;
        if (type != typeof(Tensor)) Assume(il, type);
    }

    /// <summary>Emits a cast of an object that is known to be of a type.</summary>
    internal static void Assume(ILGenerator il, Type type)
    {
        if (type != typeof(object)) il.Emit(OpCodes.Call, SameObject.MakeGenericMethod(type));
    }

    internal static bool IsPassedOn(Type type) => MayHold(type) || IsTensorSpan(type) || (type.IsByRef && MayHold(type.GetElementType()!));

    internal static MethodInfo Helper(string name) => typeof(Deferral).GetMethod(name, BindingFlags.NonPublic | BindingFlags.Static)!;

    private static bool IsTensorSpan(Type type) => type.IsGenericType && type.GetGenericArguments() is [var element] && element == typeof(Tensor)
        && (type.GetGenericTypeDefinition() == typeof(Span<>) || type.GetGenericTypeDefinition() == typeof(ReadOnlySpan<>));

    private static DynamicMethod? Make(OpCode opCode, MethodBase called, Type? constraint)
    {
        if (called.IsDefined(typeof(TakesDeferredAttribute))) return null;
        if (IsSpanElement(called)) return Young((MethodInfo)called);
        var type = called.DeclaringType!;
        var disposes = called is { Name: "Dispose", IsStatic: false } && called.GetParameters().Length == 0 && !type.IsValueType;
        if (type == typeof(Tensor) && Answers.TryGetValue(called.Name, out var answer) && Fits(Helper(answer), called)) return Answer(Helper(answer), called);
        var parameters = Parameters(opCode, called, constraint);
        if (!disposes && type.Assembly == OpClassifier.TorchSharp && OwnershipMethods.Contains(called.Name))
            return Emit(opCode, called, constraint, parameters, nameof(Deferral.LookingIntoScopes), passesOn: false);
        if (disposes) return Emit(opCode, called, constraint, parameters, nameof(Deferral.Disposing), passesOn: false);
        var computesAll = TorchSharpCalls.MayChangeTensors(called);
        return computesAll || parameters.Any(IsPassedOn) ? Emit(opCode, called, constraint, parameters, computesAll ? nameof(Deferral.ComputeAll) : null, passesOn: true) : null;
    }

    private static Type[] Parameters(OpCode opCode, MethodBase called, Type? constraint)
    {
        if (opCode == OpCodes.Newobj || called.IsStatic) return MethodShape.Parameters(called);
        var type = constraint?.MakeByRefType() ?? (called.DeclaringType!.IsValueType ? called.DeclaringType.MakeByRefType() : called.DeclaringType);
        return [type, .. MethodShape.Parameters(called)];
    }

    /// <param name="opCode">The instruction.</param>
    /// <param name="called">The method.</param>
    /// <param name="constraint">The type of a <c>constrained.</c> prefix, or null.</param>
    /// <param name="parameters">The types of the arguments.</param>
    /// <param name="before">The helper that is called before, or null.</param>
    /// <param name="passesOn">Whether the method gets to see the tensors, which need their values then.</param>
    private static DynamicMethod Emit(OpCode opCode, MethodBase called, Type? constraint, Type[] parameters, string? before, bool passesOn)
    {
        var result = opCode == OpCodes.Newobj ? called.DeclaringType! : MethodShape.ReturnType(called);
        var shim = MethodShape.Dynamic("opaque " + MethodShape.DisplayName(called), result, parameters, called.Module);
        var il = shim.GetILGenerator();
        if (ChecksShape(called)) SkipForImages(il, result);
        if (before == nameof(Deferral.Disposing))
        {
            il.Emit(OpCodes.Ldarg_0);
            if (parameters[0].IsByRef) il.Emit(OpCodes.Ldind_Ref);
        }

        if (before is not null) il.Emit(OpCodes.Call, Helper(before));
        for (var i = 0; i < parameters.Length; i++)
        {
            if (passesOn) LoadConcrete(il, i, parameters[i]);
            else il.Emit(OpCodes.Ldarg, (short)i);
        }

        if (constraint is not null) il.Emit(OpCodes.Constrained, constraint);
        if (called is ConstructorInfo constructor) il.Emit(opCode, constructor);
        else il.Emit(opCode, (MethodInfo)called);
        il.Emit(OpCodes.Ret);
        return shim;
    }

    /// <summary>A module's look at the shape of its input, which needs no values: it answers nothing, or yes, or throws.</summary>
    private static bool ChecksShape(MethodBase called) =>
        called.Name is "ValidateInputDimensions" or "ValidateShape" && !called.IsStatic && called.DeclaringType!.Assembly == OpClassifier.TorchSharp && MethodShape.Parameters(called) is [var first, ..] && first == typeof(Tensor);

    private static void SkipForImages(ILGenerator il, Type result)
    {
        var look = il.DefineLabel();
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Ldarg_1);
        il.Emit(OpCodes.Call, Helper(nameof(Deferral.AreImagesOf)));
        il.Emit(OpCodes.Brfalse, look);
        if (result == typeof(bool)) il.Emit(OpCodes.Ldc_I4_1);
        il.Emit(OpCodes.Ret);
        il.MarkLabel(look);
    }

    private static bool Fits(MethodInfo helper, MethodBase query) =>
        MethodShape.Parameters(helper).SequenceEqual(MethodShape.CallParameters(query)) && helper.ReturnType == MethodShape.ReturnType(query);

    private static DynamicMethod Answer(MethodInfo helper, MethodBase query)
    {
        var parameters = MethodShape.CallParameters(query);
        var shim = MethodShape.Dynamic("deferred " + MethodShape.DisplayName(query), helper.ReturnType, parameters, query.Module);
        var il = shim.GetILGenerator();
        MethodShape.LoadArguments(il, parameters.Length);
        il.Emit(OpCodes.Call, helper);
        il.Emit(OpCodes.Ret);
        return shim;
    }

    /// <summary>The compiler's own access to an element of a span on the stack, in which it gathers the tensors of a call.</summary>
    private static bool IsSpanElement(MethodBase method) =>
        method.DeclaringType!.Name.StartsWith("<PrivateImplementationDetails>", StringComparison.Ordinal) && method is MethodInfo { Name: "InlineArrayElementRef" or "InlineArrayFirstElementRef" } info
        && info.ReturnType == typeof(Tensor).MakeByRefType();

    private static DynamicMethod Young(MethodInfo access)
    {
        var parameters = MethodShape.Parameters(access);
        var shim = MethodShape.Dynamic(access.Name, access.ReturnType, parameters, access.Module);
        var il = shim.GetILGenerator();
        MethodShape.LoadArguments(il, parameters.Length);
        il.Emit(OpCodes.Call, access);
        il.Emit(OpCodes.Call, Helper(nameof(Deferral.YoungElement)));
        il.Emit(OpCodes.Ret);
        return shim;
    }
}
