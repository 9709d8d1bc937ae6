using System.Reflection;
using QwixSharp.Interception.Coverage;
using QwixSharp.Interception.Deferred;
using TorchSharp;

namespace QwixSharp.Interception;

/// <summary>
/// Sees every tensor op in a model's forward pass, whoever wrote the model.
/// </summary>
/// <remarks>
/// .NET cannot replace a method, so the model's code is copied: <see cref="Rewrite{TDelegate}"/> copies the IL of a
/// method and of all that it calls into dynamic methods, in which calls of TorchSharp's ops ask the ambient
/// interceptor first. <see cref="Enter"/> makes an interceptor ambient. The model itself is not changed.
/// </remarks>
public static class Interceptor
{
    /// <summary>Makes an interceptor ambient for rewritten code, until the result is disposed.</summary>
    /// <param name="root">The model: op calls carry the paths that its <c>named_modules()</c> gives, and the empty path for itself.</param>
    /// <param name="interceptor">What sees the ops.</param>
    /// <returns>Restores what was ambient before. Dispose it in the flow of control that called this.</returns>
    /// <remarks>
    /// The interceptor follows the flow of control into tasks, threads and parallel loops that the model starts, and is
    /// unknown outside of it, so several threads can each have their own. A shared module has its first name. A module
    /// that is not registered in the model is named after the module that calls it: <c>encoder.?Linear</c>.
    /// An inner call hides the outer interceptor.
    /// </remarks>
    public static IDisposable Enter(torch.nn.Module root, IOpInterceptor interceptor)
    {
        ArgumentNullException.ThrowIfNull(root);
        ArgumentNullException.ThrowIfNull(interceptor);
        var previous = InterceptionScope.Current;
        InterceptionScope.Current = new InterceptionScope(new InterceptionRun(root, interceptor), root, null);
        var outer = DeferredGraph.Current;
        var graph = interceptor is IDefersOps { Evaluator: { } evaluator } ? new DeferredGraph(evaluator) : null;
        DeferredGraph.Current = graph;
        return new Restorer(previous, graph, outer);
    }

    /// <summary>The rewritten copy of a method.</summary>
    /// <typeparam name="TDelegate">
    /// A delegate of the method's parameters and result whose first parameter is the receiver, as an
    /// <see cref="object"/>: <c>Func&lt;object, Tensor, Tensor&gt;</c> for <c>Module&lt;Tensor, Tensor&gt;.call</c>.
    /// </typeparam>
    /// <param name="method">
    /// An instance method of a model or a module. A virtual one, as <c>forward</c> is, runs what the receiver's type has for it.
    /// </param>
    /// <returns>The delegate; the same one at every call. It may be invoked by several threads at once.</returns>
    /// <exception cref="ArgumentException">The method is static or generic, belongs to no model, or does not fit the delegate.</exception>
    public static TDelegate Rewrite<TDelegate>(MethodInfo method) where TDelegate : Delegate => RewriteWith<TDelegate>(MethodRewriter.Default, method);

    /// <summary>
    /// What interception cannot see in a model: the methods that can be reached from an entry point and from the
    /// forward passes of all the model's modules are looked through.
    /// </summary>
    /// <param name="root">The model.</param>
    /// <param name="entry">The method by which the model is run, such as <c>forward</c> of its type.</param>
    /// <returns>A list that is empty where everything can be seen. <see cref="CoverageReport.ThrowIfIncomplete"/> is the strict way.</returns>
    public static CoverageReport Inspect(torch.nn.Module root, MethodInfo entry)
    {
        ArgumentNullException.ThrowIfNull(root);
        ArgumentNullException.ThrowIfNull(entry);
        return new CoverageInspector(MethodRewriter.Default).Inspect(root, entry);
    }

    internal static TDelegate RewriteWith<TDelegate>(MethodRewriter rewriter, MethodInfo method) where TDelegate : Delegate
    {
        ArgumentNullException.ThrowIfNull(method);
        if (method.IsStatic || method.ContainsGenericParameters || method.DeclaringType is null || method.DeclaringType.IsValueType)
            throw new ArgumentException($"{method.DeclaringType}.{method.Name} cannot be rewritten: it must be an instance method of a class, with all type arguments known.", nameof(method));
        CheckSignature(typeof(TDelegate), method);
        return (TDelegate?)rewriter.OpenDelegate(method, typeof(TDelegate))
            ?? throw new ArgumentException($"{method.DeclaringType}.{method.Name} is no model code that can be copied: it must be a method of a module or of an assembly that uses TorchSharp, and not async.", nameof(method));
    }

    private static void CheckSignature(Type delegateType, MethodInfo method)
    {
        Type[] expected = [typeof(object), .. MethodShape.Parameters(method)];
        var invoke = delegateType.GetMethod("Invoke");
        if (invoke is null || !MethodShape.Parameters(invoke).SequenceEqual(expected) || invoke.ReturnType != method.ReturnType)
            throw new ArgumentException($"{delegateType} does not fit {method.DeclaringType}.{method.Name}: its parameters must be ({string.Join(", ", expected.Select(t => t.ToString()))}) and its result {method.ReturnType}.", nameof(method));
    }

    private sealed class Restorer(InterceptionScope? previous, DeferredGraph? graph, DeferredGraph? outer) : IDisposable
    {
        private bool _disposed;

        public void Dispose()
        {
            if (_disposed) return;
            _disposed = true;
            InterceptionScope.Current = previous;
            graph?.End();
            DeferredGraph.Current = outer;
        }
    }
}
