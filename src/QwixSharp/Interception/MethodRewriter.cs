using System.Reflection;
using System.Reflection.Emit;
using QwixSharp.Interception.NativeModules;
using QwixSharp.Interception.Shims;

namespace QwixSharp.Interception;

/// <summary>
/// Makes and keeps the copies of methods whose calls of tensor ops go to the ambient interceptor.
/// </summary>
/// <remarks>
/// Everything that a copy can reach without knowing a receiver's type is emitted under one lock before the copy first
/// runs, so recursion is safe and no thread sees a method that is half made.
/// </remarks>
internal sealed class MethodRewriter
{
    private readonly Func<MethodInfo, MethodInfo?> _replacementFor;
    private readonly Dictionary<MethodBase, DynamicMethod?> _redirects = [];
    private readonly Dictionary<MethodBase, DynamicMethod> _copies = [];
    private readonly Dictionary<MethodBase, string> _fallbacks = [];
    private readonly Dictionary<(MethodInfo Method, Type Type), Delegate> _delegates = [];
    private readonly CallRedirector _redirector;

    /// <param name="replacementFor">The managed equivalent of a native module's method, or null.</param>
    internal MethodRewriter(Func<MethodInfo, MethodInfo?> replacementFor)
    {
        _replacementFor = replacementFor;
        Id = ShimRegistry.Add(this);
        Delegates = new DelegateRewriter(this);
        _redirector = new CallRedirector(this);
    }

    /// <summary>The rewriter that all models of the process share.</summary>
    internal static MethodRewriter Default { get; } = new(NativeModuleTable.ReplacementFor);

    /// <summary>The number under which emitted code finds this rewriter.</summary>
    internal int Id { get; }

    /// <summary>Gives for delegates made outside the copies ones that run copies.</summary>
    internal DelegateRewriter Delegates { get; }

    /// <summary>Held while anything is emitted. It may be taken again by the thread that holds it.</summary>
    internal Lock Gate { get; } = new();

    /// <summary>Methods that could not be copied, so that the original runs, with the reason.</summary>
    internal string? FallbackReason(MethodBase method)
    {
        lock (Gate) return _fallbacks.GetValueOrDefault(method);
    }

    /// <summary>The managed equivalent of a TorchSharp module's method, or null.</summary>
    internal MethodInfo? ReplacementFor(MethodInfo method) => MethodClassifier.IsTorchSharpModuleMethod(method) && method.Name is "forward" or "call"
        ? _replacementFor(method)
        : null;

    /// <summary>
    /// What should run in place of a method that is known exactly: a dispatch of an op, the managed equivalent of a
    /// native module, or a copy. Null where the method itself should run.
    /// </summary>
    /// <returns>A method with the parameters of <see cref="MethodShape.CopyParameters"/>; for an op the instance has its own type.</returns>
    internal DynamicMethod? Redirect(MethodInfo method)
    {
        method = (MethodInfo)MethodShape.Canonical(method);
        lock (Gate)
        {
            if (_redirects.TryGetValue(method, out var known)) return known;
            if (OpClassifier.IsOp(method)) return _redirects[method] = OpShims.ForOp(method, Id);
            if (MethodClassifier.Accessed(method) is { } accessed) return _redirects[method] = Redirect(accessed);
            if (ReplacementFor(method) is { } replacement) return _redirects[method] = Replace(method, replacement);
            if (MethodClassifier.RunsNatively(method)) return _redirects[method] = ScopeShims.For(method, OpShims.ForNativeModule(method, Id));
            if (!MethodClassifier.IsRewritable(method) || MethodClassifier.IsLeaf(method)) return _redirects[method] = null;
            return Copy(method);
        }
    }

    /// <summary>The copy of a constructor: it runs on an object that exists, as a call of a base constructor does.</summary>
    internal DynamicMethod? Redirect(ConstructorInfo constructor)
    {
        lock (Gate) return MethodClassifier.IsRewritable(constructor) ? Copy(constructor) : null;
    }

    /// <summary>A method as an open delegate with an <see cref="object"/> as receiver; dispatches virtual methods by the receiver's type.</summary>
    /// <returns>Null where the method is no model code.</returns>
    internal Delegate? OpenDelegate(MethodInfo method, Type type)
    {
        lock (Gate)
        {
            if (_delegates.TryGetValue((method, type), out var known)) return known;
            return OpenTarget(method) is { } target ? _delegates[(method, type)] = Adapters.ConcreteResult(target).CreateDelegate(type) : null;
        }
    }

    /// <summary>A delegate of a known method that runs what <see cref="Redirect(MethodInfo)"/> gives, or null where that is the method itself.</summary>
    internal Delegate? Bind(MethodInfo method, Type type, object? target)
    {
        if (Redirect(method) is not { } redirect) return null;
        if (!method.IsStatic) redirect = Adapters.ObjectFirst(method, redirect);
        redirect = Adapters.ConcreteResult(redirect);
        return target is null ? redirect.CreateDelegate(type) : redirect.CreateDelegate(type, target);
    }

    private DynamicMethod? OpenTarget(MethodInfo method)
    {
        if (MethodClassifier.NeedsDispatch(method)) return _redirector.Virtual.For(method);
        if (Redirect(method) is { } redirect) return Adapters.ObjectFirst(method, redirect);
        return MethodClassifier.IsRewritable(method) ? Adapters.Original(method) : null;
    }

    private DynamicMethod Replace(MethodInfo method, MethodInfo replacement)
    {
        var parameters = MethodShape.Parameters(replacement);
        if (!replacement.IsStatic || parameters.Length != method.GetParameters().Length + 1 || replacement.ReturnType != method.ReturnType)
            throw new InterceptionException($"{replacement} cannot stand for {MethodShape.DisplayName(method)}: it must be static, take the module and then the parameters of {method}, and return the same.");
        return ScopeShims.For(method, Adapters.Replacement(method, replacement, Redirect(replacement)));
    }

    private DynamicMethod Copy(MethodBase method)
    {
        if (_copies.TryGetValue(method, out var known)) return known;
        var body = MethodShape.Dynamic(MethodShape.DisplayName(method), MethodShape.ReturnType(method), MethodShape.CopyParameters(method), method.Module);
        var entry = method is MethodInfo info ? ScopeShims.For(info, body) : body;
        _copies[method] = entry;
        if (method is MethodInfo) _redirects[method] = entry;
        try
        {
            new IlCopier(method, body.GetDynamicILInfo(), _redirector).Copy(body);
        }
        catch (Exception error) when (error is not InterceptionException)
        {
            // Whatever IL this cannot carry over, the model must still run: the original does, and the coverage report tells.
            _fallbacks[method] = error.Message;
            IlCopier.CallOriginal(method, body.GetDynamicILInfo());
        }

        return entry;
    }
}
