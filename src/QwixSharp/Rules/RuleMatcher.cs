using System.Collections.Concurrent;
using System.Text.RegularExpressions;

namespace QwixSharp.Rules;

/// <summary>Finds the first rule that matches an op, and counts matches. Safe for several threads.</summary>
internal sealed class RuleMatcher
{
    private readonly Regex[] _paths;
    private readonly int[] _matches;
    private readonly ConcurrentDictionary<(string Path, string Op), int> _cache = new();

    /// <exception cref="RuleException">A module path is not a regular expression.</exception>
    internal RuleMatcher(IReadOnlyList<QuantizationRule> rules)
    {
        Rules = rules;
        _paths = [.. rules.Select(Compile)];
        _matches = new int[rules.Count];
    }

    internal IReadOnlyList<QuantizationRule> Rules { get; }

    /// <summary>The first rule whose path matches the whole module path and which is for the op; null where there is none.</summary>
    internal QuantizationRule? Match(string modulePath, string opName)
    {
        if (!_cache.TryGetValue((modulePath, opName), out int index))
            _cache[(modulePath, opName)] = index = Find(modulePath, opName);
        if (index < 0)
            return null;
        if (_matches[index] == 0)
            Interlocked.Increment(ref _matches[index]);
        return Rules[index];
    }

    /// <summary>The rules that have matched no op yet.</summary>
    internal IReadOnlyList<QuantizationRule> Unused() => [.. Rules.Where((_, i) => Volatile.Read(ref _matches[i]) == 0)];

    private int Find(string modulePath, string opName)
    {
        for (int i = 0; i < _paths.Length; i++)
        {
            if ((Rules[i].OpNames.Count == 0 || Rules[i].OpNames.Contains(opName)) && _paths[i].IsMatch(modulePath))
                return i;
        }

        return -1;
    }

    private static Regex Compile(QuantizationRule rule)
    {
        try
        {
            // On its own first: "a)(b" would close the group around it.
            _ = new Regex(rule.ModulePath);
            return new Regex($@"\A(?:{rule.ModulePath})\z", RegexOptions.CultureInvariant);
        }
        catch (ArgumentException error)
        {
            throw new RuleException($"ModulePath \"{rule.ModulePath}\" is not a regular expression: {error.Message} It is matched with the whole dotted path, such as \"layers\\.0\\..*\". Rule: {rule}", error);
        }
    }
}
