namespace QwixSharp.Tests.Architecture;

/// <summary>One type of an assembly that mentions another type.</summary>
/// <param name="From">The type whose metadata or code holds the reference; a nested type counts as its outermost type.</param>
/// <param name="To">The type that is mentioned, likewise.</param>
internal readonly record struct TypeReference(NamedType From, NamedType To);

/// <summary>A top-level type as metadata names it.</summary>
/// <param name="Assembly">The simple name of its assembly.</param>
/// <param name="Namespace">Its namespace, empty for those the compiler makes up.</param>
/// <param name="Name">Its name.</param>
internal readonly record struct NamedType(string Assembly, string Namespace, string Name)
{
    public override string ToString() => $"{Namespace}.{Name}";
}
