using System.Reflection;

namespace QwixSharp.Interception.Coverage;

/// <summary>Collects gaps, each method and kind once, with the remedy of its kind.</summary>
internal sealed class GapList
{
    private readonly List<CoverageGap> _gaps = [];
    private readonly HashSet<(string Member, CoverageGapKind Kind, string Detail)> _seen = [];

    internal IReadOnlyList<CoverageGap> Gaps => _gaps;

    internal bool Has(MemberInfo member, CoverageGapKind kind) => _gaps.Any(gap => gap.Kind == kind && gap.Method == NameOf(member));

    internal void Add(MemberInfo member, CoverageGapKind kind, string detail)
    {
        if (_seen.Add((NameOf(member), kind, detail))) _gaps.Add(new CoverageGap(NameOf(member), kind, detail, Remedy(kind)));
    }

    private static string NameOf(MemberInfo member) => $"{member.DeclaringType?.FullName ?? member.DeclaringType?.Name}.{member.Name}";

    private static string Remedy(CoverageGapKind kind) => kind switch
    {
        CoverageGapKind.AsyncMethod => "Make the method synchronous, or run synchronous code in Task.Run.",
        CoverageGapKind.FunctionPointer => "Use a delegate in place of the function pointer.",
        CoverageGapKind.DynamicCallSite => "Give the value a static type, such as Tensor, in place of dynamic.",
        CoverageGapKind.CompiledExpression => "Use a lambda in place of the compiled expression.",
        CoverageGapKind.DynamicMethod => "Use a method or lambda in place of the dynamic method.",
        CoverageGapKind.HiddenDelegate => "Read its value before the run, or make the Lazy in the forward pass.",
        CoverageGapKind.Reflection => "Make a delegate of the method once, with MethodInfo.CreateDelegate, and call that.",
        CoverageGapKind.AutogradFunction => "Nothing is lost if the function does no product; else write it with ops whose gradients TorchSharp knows.",
        CoverageGapKind.NativeModule => "Use a module that is written in managed code, so that its ops can be seen one by one.",
        CoverageGapKind.UnseenOp => "Use an overload without out or ref parameters.",
        _ => "Simplify the method, or move what cannot be copied into one of its own.",
    };
}
