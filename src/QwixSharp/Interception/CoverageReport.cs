namespace QwixSharp.Interception;

/// <summary>A piece of a model that interception cannot see.</summary>
/// <param name="Method">The method or field that holds it, as <c>Namespace.Type.Member</c>.</param>
/// <param name="Kind">Why it cannot be seen.</param>
/// <param name="Detail">What was found there.</param>
/// <param name="Remedy">What to change so that it can be seen.</param>
public sealed record CoverageGap(string Method, CoverageGapKind Kind, string Detail, string Remedy)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Method}: {Kind} ({Detail}). {Remedy}";
}

/// <summary>What interception cannot see in a model; see <see cref="Interceptor.Inspect"/>.</summary>
/// <remarks>
/// The report is of code that can be reached, whether a given input reaches it or not. Delegates that model code gets
/// only while it runs are judged by where they are made.
/// </remarks>
public sealed class CoverageReport
{
    internal CoverageReport(IReadOnlyList<CoverageGap> gaps, int methodCount)
    {
        Gaps = gaps;
        MethodCount = methodCount;
    }

    /// <summary>What cannot be seen, in the order in which it was found.</summary>
    public IReadOnlyList<CoverageGap> Gaps { get; }

    /// <summary>How many methods were looked through.</summary>
    public int MethodCount { get; }

    /// <summary>Whether everything can be seen.</summary>
    public bool IsComplete => Gaps.Count == 0;

    /// <summary>Throws unless everything can be seen.</summary>
    /// <exception cref="InterceptionException">There are gaps; the message lists them, <see cref="InterceptionException.Report"/> holds them.</exception>
    public void ThrowIfIncomplete()
    {
        if (!IsComplete) throw new InterceptionException("Interception cannot see all ops of the model:" + Environment.NewLine + ToString(), this);
    }

    /// <summary>The gaps, one a line.</summary>
    public override string ToString() => IsComplete
        ? $"Everything can be seen ({MethodCount} methods)."
        : string.Join(Environment.NewLine, Gaps);
}
