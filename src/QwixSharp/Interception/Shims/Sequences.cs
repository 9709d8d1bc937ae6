using System.Collections;

namespace QwixSharp.Interception.Shims;

/// <summary>Sequences that model code computes while they are read, for callers that are not copied.</summary>
internal static class Sequences
{
    /// <summary>A sequence whose elements are computed by copies; the same sequence where no model code computes them.</summary>
    internal static IEnumerable<T>? Rewrite<T>(IEnumerable<T>? sequence, int rewriter) =>
        sequence is not null and not ICollection<T> and not RewrittenSequence<T> && MethodClassifier.IsModelType(sequence.GetType())
            ? new RewrittenSequence<T>(sequence, (MethodRewriter)ShimRegistry.Get(rewriter))
            : sequence;

    /// <summary>A sequence whose elements exist: lazy ones are read to their end, through copies.</summary>
    internal static IEnumerable<T>? Materialize<T>(IEnumerable<T>? sequence, int rewriter) =>
        sequence is null or ICollection<T> or IReadOnlyCollection<T> ? sequence : [.. Rewrite(sequence, rewriter)!];

    private sealed class RewrittenSequence<T>(IEnumerable<T> inner, MethodRewriter rewriter) : IEnumerable<T>
    {
        public IEnumerator<T> GetEnumerator()
        {
            var start = Open<Func<object, IEnumerator<T>>>(typeof(IEnumerable<T>), nameof(IEnumerable<>.GetEnumerator));
            using var elements = start is null ? inner.GetEnumerator() : start(inner);
            var moveNext = Open<Func<object, bool>>(typeof(IEnumerator), nameof(IEnumerator.MoveNext));
            while (moveNext is null ? elements.MoveNext() : moveNext(elements)) yield return elements.Current;
        }

        IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

        private TDelegate? Open<TDelegate>(Type type, string name) where TDelegate : Delegate =>
            (TDelegate?)rewriter.OpenDelegate(type.GetMethod(name)!, typeof(TDelegate));
    }
}
