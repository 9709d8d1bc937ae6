using System.Collections;
using System.Linq.Expressions;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using TorchSharp;

namespace QwixSharp.Interception.Coverage;

/// <summary>Walks through the code that a model can reach and lists what interception cannot see there.</summary>
internal sealed class CoverageInspector(MethodRewriter rewriter)
{
    private const BindingFlags DeclaredFields = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;

    private readonly GapList _gaps = new();
    private readonly ReachableTypes _types = new();
    private readonly HashSet<MethodBase> _visited = [];
    private readonly Queue<MethodBase> _pending = [];
    private readonly HashSet<object> _objects = new(ReferenceEqualityComparer.Instance);
    private Type[] _typesWithParameters = [];

    internal CoverageReport Inspect(torch.nn.Module root, MethodInfo entry)
    {
        torch.nn.Module[] modules = [root, .. root.named_modules().Select(named => named.module)];
        _typesWithParameters = [.. modules.Where(module => module.parameters().Any()).Select(module => module.GetType())];
        foreach (var module in modules) LookInto(module);
        Visit(entry.IsVirtual ? ReachableTypes.Resolve(entry, root.GetType()) ?? entry : entry);
        foreach (var forward in modules.SelectMany(module => ForwardsOf(module.GetType()))) Visit(forward);
        while (_pending.TryDequeue(out var method)) Walk(method);
        return new CoverageReport(_gaps.Gaps, _visited.Count);
    }

    private static IEnumerable<MethodInfo> ForwardsOf(Type type) =>
        type.GetMethods(BindingFlags.Instance | BindingFlags.Public).Where(m => m.Name == "forward" && !m.IsAbstract && !m.ContainsGenericParameters);

    /// <summary>Notes an object's type and looks into the fields that model code declares, and the hooks that it registered.</summary>
    private void LookInto(object value)
    {
        if (!_objects.Add(value)) return;
        VisitAll(_types.AddType(value.GetType()));
        for (var type = value.GetType(); type is not null && IsLookedInto(type); type = type.BaseType)
        {
            foreach (var field in type.GetFields(DeclaredFields).Where(f => !f.FieldType.IsPrimitive && !f.FieldType.IsPointer))
                LookAt(field, field.GetValue(value));
        }
    }

    private static bool IsLookedInto(Type type) =>
        MethodClassifier.IsModelType(type) || (MethodClassifier.IsModule(type) && type != typeof(torch.nn.Module));

    private void LookAt(FieldInfo field, object? value)
    {
        switch (value)
        {
            case Delegate function:
                Judge(field, function);
                break;
            case not null when IsPendingLazy(value):
                _gaps.Add(field, CoverageGapKind.HiddenDelegate, "its function was made before the run");
                break;
            case IDictionary dictionary:
                foreach (var item in dictionary.Values) LookAt(field, item);
                break;
            case ICollection collection when !MethodClassifier.IsModule(value.GetType()):
                if (collection is Array { Rank: 1 } array && array.GetType().GetElementType()!.IsPrimitive) break;
                foreach (var item in collection) LookAt(field, item);
                break;
            case not null when IsLookedInto(value.GetType()):
                LookInto(value);
                break;
        }
    }

    private static bool IsPendingLazy(object value)
    {
        var type = value.GetType();
        if (!type.IsGenericType || type.GetGenericTypeDefinition() != typeof(Lazy<>) || !OpClassifier.CarriesTensor(type)) return false;
        return type.GetProperty(nameof(Lazy<>.IsValueCreated))!.GetValue(value) is false;
    }

    private void Judge(FieldInfo field, Delegate function)
    {
        foreach (var single in function.GetInvocationList())
        {
            if (IsClosure(single.Target)) _gaps.Add(field, CoverageGapKind.CompiledExpression, "the delegate comes of a compiled expression");
            else if (single.Method.DeclaringType is not null) Visit(single.Method);
            else if (!MethodShape.IsOurs(single.Method)) _gaps.Add(field, CoverageGapKind.DynamicMethod, "the delegate is of a dynamic method");
            if (single.Target is { } target && IsLookedInto(target.GetType())) LookInto(target);
        }
    }

    /// <summary>The target of a compiled expression's delegate; its type is public but in no reference assembly.</summary>
    private static bool IsClosure(object? target) => target?.GetType().FullName == "System.Runtime.CompilerServices.Closure";

    private void VisitAll(IEnumerable<MethodInfo> methods)
    {
        foreach (var method in methods) Visit(method);
    }

    private void Visit(MethodBase method)
    {
        method = MethodShape.Canonical(method);
        if (!_visited.Add(method)) return;
        if (method is MethodInfo info && !CanWalk(info)) return;
        if (method is ConstructorInfo constructor && !MethodClassifier.IsRewritable(constructor)) return;
        _pending.Enqueue(method);
    }

    private bool CanWalk(MethodInfo method)
    {
        if ((MethodClassifier.Accessed(method) ?? rewriter.ReplacementFor(method)) is { } standIn)
        {
            Visit(standIn);
            return false;
        }

        if (MethodClassifier.RunsNatively(method))
        {
            if (_typesWithParameters.Any(method.DeclaringType!.IsAssignableFrom)) _gaps.Add(method, CoverageGapKind.NativeModule, "the module runs in native code");
            return false;
        }

        if (method.DeclaringType is { } type && MethodClassifier.IsModelType(type) && MethodClassifier.IsAsync(method))
            _gaps.Add(method, CoverageGapKind.AsyncMethod, "the method is async");
        return MethodClassifier.IsRewritable(method);
    }

    private void Walk(MethodBase method)
    {
        var body = IlBody.Of(method)!;
        var instructions = body.Instructions();
        for (var i = 0; i < instructions.Count; i++)
        {
            var instruction = instructions[i];
            if (instruction.OpCode == OpCodes.Calli) _gaps.Add(method, CoverageGapKind.FunctionPointer, "it calls a function pointer");
            else if (instruction.OpCode == OpCodes.Ldsfld) LookAtStatic(body.ResolveField(instruction.Token));
            else if (instruction.OpCode.OperandType == OperandType.InlineMethod) Walk(method, body, instructions, i);
        }

        NoteFallback(method);
    }

    private void Walk(MethodBase method, IlBody body, List<IlInstruction> instructions, int index)
    {
        var called = body.ResolveMethod(instructions[index].Token);
        var opCode = instructions[index].OpCode;
        if (opCode == OpCodes.Newobj) VisitAll(_types.AddType(called.DeclaringType!));
        var constraint = index > 0 && instructions[index - 1].OpCode == OpCodes.Constrained ? body.ResolveType(instructions[index - 1].Token) : null;
        NoteCall(method, called);
        if (called is not MethodInfo info)
        {
            Visit(called);
            return;
        }

        var takesPointer = opCode == OpCodes.Ldftn && instructions.TrueForAll(i => i.OpCode != OpCodes.Calli) && (index + 1 == instructions.Count || instructions[index + 1].OpCode != OpCodes.Newobj);
        if (takesPointer && (OpClassifier.IsOp(info) || MethodClassifier.IsRewritable(info)))
            _gaps.Add(method, CoverageGapKind.FunctionPointer, $"it takes the address of {info.Name}");
        if (constraint is not null && CallRedirector.Implementation(info, constraint) is { } implementation) Visit(implementation);
        else if (opCode != OpCodes.Call && MethodClassifier.NeedsDispatch(info)) VisitAll(_types.AddCall(info));
        else Visit(info);
    }

    private void LookAtStatic(FieldInfo field)
    {
        if (!OpClassifier.IsDelegate(field.FieldType) || field.DeclaringType!.Name.StartsWith("<>", StringComparison.Ordinal)) return;
        LookAt(field, field.GetValue(null));
    }

    private void NoteCall(MethodBase method, MethodBase called)
    {
        var type = called.DeclaringType!;
        if (typeof(CallSite).IsAssignableFrom(type))
            _gaps.Add(method, CoverageGapKind.DynamicCallSite, "it uses dynamic");
        else if (typeof(LambdaExpression).IsAssignableFrom(type) && called.Name == nameof(LambdaExpression.Compile))
            _gaps.Add(method, CoverageGapKind.CompiledExpression, "it compiles an expression");
        else if (type == typeof(DynamicMethod))
            _gaps.Add(method, CoverageGapKind.DynamicMethod, "it makes a dynamic method");
        else if ((typeof(MethodBase).IsAssignableFrom(type) && called.Name == nameof(MethodBase.Invoke)) || (type == typeof(Delegate) && called.Name == nameof(Delegate.DynamicInvoke)))
            _gaps.Add(method, CoverageGapKind.Reflection, $"it calls {type.Name}.{called.Name}");
        else if (type.IsGenericType && type.BaseType?.Name == "Function`1" && type.Assembly == OpClassifier.TorchSharp && called.Name == "apply")
            _gaps.Add(method, CoverageGapKind.AutogradFunction, $"it applies {type.GetGenericArguments()[0].Name}");
        else if (IsScript(type, called.Name))
            _gaps.Add(method, CoverageGapKind.NativeModule, $"it runs a {type.Name}, compiled outside .NET");
        else if (OpClassifier.IsUnseenOp(called))
            _gaps.Add(method, CoverageGapKind.UnseenOp, $"it calls {MethodShape.DisplayName(called)}");
    }

    private static bool IsScript(Type type, string method) =>
        (method == "invoke" && (type == typeof(torch.jit.CompilationUnit) || typeof(torch.jit.ScriptModule).IsAssignableFrom(type)))
        || (method is "run" or "forward" or "call" && typeof(ExportedProgram).IsAssignableFrom(type));

    /// <summary>Copies the method, as a run would, to learn whether that works.</summary>
    private void NoteFallback(MethodBase method)
    {
        if (method is MethodInfo info) rewriter.Redirect(info);
        else rewriter.Redirect((ConstructorInfo)method);
        var isExplained = _gaps.Has(method, CoverageGapKind.FunctionPointer);
        if (rewriter.FallbackReason(method) is { } reason && !isExplained) _gaps.Add(method, CoverageGapKind.NotCopied, reason);
    }
}
