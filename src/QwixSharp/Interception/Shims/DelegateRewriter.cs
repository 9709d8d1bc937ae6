using System.Runtime.CompilerServices;

namespace QwixSharp.Interception.Shims;

/// <summary>Gives for delegates that were made outside the copied code ones that run copies.</summary>
internal sealed class DelegateRewriter(MethodRewriter rewriter)
{
    private readonly ConditionalWeakTable<Delegate, Delegate> _rewritten = [];

    /// <summary>For emitted code: rewrites a delegate that is about to be invoked or passed on.</summary>
    internal static Delegate? Rewrite(Delegate? original, int rewriter) => ((MethodRewriter)ShimRegistry.Get(rewriter)).Delegates.Rewrite(original);

    /// <summary>A delegate that does the same through copies; the same delegate where there is nothing to copy.</summary>
    internal Delegate? Rewrite(Delegate? original)
    {
        if (original is null) return null;
        if (_rewritten.TryGetValue(original, out var known)) return known;
        var rewritten = original.HasSingleTarget ? RewriteSingle(original) : Delegate.Combine([.. original.GetInvocationList().Select(single => Rewrite(single))])!;
        _rewritten.AddOrUpdate(original, rewritten);
        return rewritten;
    }

    private Delegate RewriteSingle(Delegate original)
    {
        // Delegates of dynamic methods, compiled expressions among them, have no declaring type and no IL to copy.
        if (original.Method.DeclaringType is null) return original;
        return rewriter.Bind(original.Method, original.GetType(), original.Target) ?? original;
    }
}
