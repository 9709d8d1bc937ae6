using System.Runtime.CompilerServices;
using QwixSharp.Interception.Deferred;
using TorchSharp;

namespace QwixSharp.Interception;

/// <summary>One interceptor at work on one model, from <see cref="Interceptor.Enter"/> to its disposal.</summary>
internal sealed class InterceptionRun(torch.nn.Module root, IOpInterceptor interceptor)
{
    private readonly Lazy<ModulePaths> _paths = new(() => (interceptor as IDefersOps)?.Paths ?? new ModulePaths(root));

    internal IOpInterceptor Interceptor => interceptor;

    /// <summary>Read on first need: an interceptor that sees no op pays nothing for paths.</summary>
    internal ModulePaths Paths => _paths.Value;
}

/// <summary>Where a flow of control is: the run of an interceptor, and the modules it has entered. Immutable, so that threads can share it.</summary>
internal sealed class InterceptionScope
{
    private static readonly AsyncLocal<InterceptionScope?> Ambient = new();

    /// <summary>The run whose interceptor this thread is executing: what that does is not intercepted for it again.</summary>
    [ThreadStatic]
    private static InterceptionRun? _busy;

    private readonly InterceptionRun _run;
    private readonly InterceptionScope? _parent;
    private string? _path;

    /// <summary>The flow's context before the module was entered, and with this scope in it.</summary>
    private ExecutionContext? _outside, _inside;

    internal InterceptionScope(InterceptionRun run, torch.nn.Module module, InterceptionScope? parent)
    {
        _run = run;
        Module = module;
        _parent = parent;
    }

    internal static InterceptionScope? Current
    {
        get => Ambient.Value;
        set => Ambient.Value = value;
    }

    internal torch.nn.Module Module { get; }

    /// <summary>The interceptor at work.</summary>
    internal IOpInterceptor Interceptor => _run.Interceptor;

    internal string Path => _path ??= _run.Paths.Of(Module) ?? ModulePaths.Outside(_parent?.Path ?? "", Module);

    /// <summary>The scope whose interceptor wants a call of an op, or null where the op should simply run.</summary>
    internal static InterceptionScope? Wanting(OpDescriptor op)
    {
        var scope = Ambient.Value;
        if (scope is null || ReferenceEquals(_busy, scope._run)) return null;
        return scope._run.Interceptor.Wants(op) ? scope : null;
    }

    /// <summary>Enters a module. Returns the scope to hand to <see cref="Leave"/>, or null where nothing was entered.</summary>
    internal static InterceptionScope? EnterModule(object? module)
    {
        var scope = Ambient.Value;
        if (scope is null || ReferenceEquals(scope.Module, module) || module is not torch.nn.Module entered) return null;
        var inner = new InterceptionScope(scope._run, entered, scope) { _outside = ExecutionContext.Capture() };
        Ambient.Value = inner;
        inner._inside = ExecutionContext.Capture();
        return scope;
    }

    /// <summary>Leaves what was entered last.</summary>
    internal static void Leave(InterceptionScope previous)
    {
        // Unless the module has put something into the context, or its flow is suppressed, there is one to go back to: no new one is made.
        if (Ambient.Value is { _outside: { } outside, _inside: { } inside } inner && ReferenceEquals(inner._parent, previous) && ReferenceEquals(ExecutionContext.Capture(), inside))
            ExecutionContext.Restore(outside);
        else
            Ambient.Value = previous;
    }

    /// <summary>Lets the interceptor answer a call.</summary>
    /// <exception cref="InterceptionException">The answer is not of the op's result type.</exception>
    internal T Dispatch<T>(OpDescriptor op, object?[] arguments)
    {
        var result = Ask(op, arguments);
        if (result is T typed) return typed;
        if (result is null && default(T) is null) return default!;
        throw new InterceptionException(
            $"The interceptor {_run.Interceptor.GetType().Name} answered {op.Name} in module '{Path}' with {result?.GetType().ToString() ?? "null"}; "
            + $"the op's result is a {typeof(T)}.");
    }

    /// <summary>Lets the interceptor answer a call that has no result.</summary>
    internal void DispatchVoid(OpDescriptor op, object?[] arguments) => Ask(op, arguments);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private object? Ask(OpDescriptor op, object?[] arguments)
    {
        var outer = _busy;
        _busy = _run;
        try
        {
            return _run.Interceptor.Intercept(new OpCall(op, arguments, Module, Path));
        }
        finally
        {
            _busy = outer;
        }
    }
}
