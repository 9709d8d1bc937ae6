namespace QwixSharp.Checkpoints.Transforms;

/// <summary>A name in which at most one <c>*</c> stands for any text.</summary>
internal sealed class NamePattern
{
    private readonly string _before;
    private readonly string? _after;

    internal NamePattern(string pattern)
    {
        ArgumentException.ThrowIfNullOrEmpty(pattern);
        var parts = pattern.Split('*');
        if (parts.Length > 2)
            throw new ArgumentException($"The pattern \"{pattern}\" has more than one *.", nameof(pattern));
        _before = parts[0];
        _after = parts.ElementAtOrDefault(1);
    }

    /// <summary>The text that <c>*</c> stands for in a name, empty where there is no <c>*</c>; null where the name does not match.</summary>
    internal string? Match(string name)
    {
        if (_after is null)
            return name == _before ? "" : null;
        bool matches = name.Length >= _before.Length + _after.Length && name.StartsWith(_before, StringComparison.Ordinal) && name.EndsWith(_after, StringComparison.Ordinal);
        return matches ? name[_before.Length..^_after.Length] : null;
    }

    /// <summary>The name with a text for <c>*</c>.</summary>
    internal string Fill(string text) => _after is null ? _before : _before + text + _after;

    public override string ToString() => _after is null ? _before : $"{_before}*{_after}";
}
