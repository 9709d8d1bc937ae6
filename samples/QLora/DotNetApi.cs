using System.Reflection;
using System.Text.RegularExpressions;

namespace QwixSharp.Samples.QLora;

/// <summary>
/// A text task that every machine holds: the public API of .NET, read by reflection. The text is a member's signature,
/// split into words; the label is its namespace. All members of a type are on one side of the split, so that knowing a
/// type does not help in the test.
/// </summary>
internal static partial class DotNetApi
{
    private const int MembersPerNamespace = 700;
    private const int TypesPerTestType = 5;

    /// <summary>A few members have dozens of parameters, of which the first tell enough.</summary>
    private const int WordsPerText = 24;

    private static readonly string[] Namespaces =
    [
        "System.Collections.Generic", "System.ComponentModel", "System.Data", "System.Diagnostics", "System.IO",
        "System.Net", "System.Numerics", "System.Reflection", "System.Security.Cryptography", "System.Xml",
    ];

    /// <summary>Reads the task.</summary>
    public static TextTask Read()
    {
        List<LabelledText> training = [], test = [];
        foreach (var group in PublicTypes().GroupBy(t => t.Namespace!).OrderBy(g => g.Key, StringComparer.Ordinal))
        {
            int label = Array.IndexOf(Namespaces, group.Key), count = 0;
            foreach (var (i, type) in group.OrderBy(t => Order(t.FullName!)).Index())
            {
                var texts = Members(type).Select(Signature).Distinct().Take(MembersPerNamespace - count).ToList();
                (i % TypesPerTestType == 0 ? test : training).AddRange(texts.Select(text => new LabelledText(label, text)));
                count += texts.Count;
            }
        }

        return new TextTask(Namespaces, training, test);
    }

    private static IEnumerable<Type> PublicTypes()
    {
        var folder = Path.GetDirectoryName(typeof(object).Assembly.Location)!;
        return Directory.GetFiles(folder, "System.*.dll").SelectMany(ExportedTypes).Distinct()
            .Where(t => Namespaces.Contains(t.Namespace) && !t.IsEnum && !t.IsSubclassOf(typeof(Delegate)));
    }

    private static IEnumerable<Type> ExportedTypes(string file)
    {
        try
        {
            return Assembly.Load(Path.GetFileNameWithoutExtension(file)).GetExportedTypes();
        }
        catch (Exception error) when (error is FileLoadException or FileNotFoundException or BadImageFormatException)
        {
            return []; // a native library, or an assembly for another system
        }
    }

    private static IEnumerable<MemberInfo> Members(Type type) =>
        type.GetMembers(BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly)
            .Where(m => m is PropertyInfo or EventInfo or ConstructorInfo || m is MethodInfo { IsSpecialName: false });

    /// <summary>Such as <c>boolean try get value t key t value out</c>: result, name and parameters, but not the declaring type.</summary>
    private static string Signature(MemberInfo member)
    {
        IEnumerable<string> parts = member switch
        {
            PropertyInfo property => [property.PropertyType.Name, property.Name, .. Parameters(property.GetIndexParameters())],
            MethodInfo method => [method.ReturnType.Name, method.Name, .. Parameters(method.GetParameters())],
            ConstructorInfo constructor => ["new", .. Parameters(constructor.GetParameters())],
            _ => [member.MemberType.ToString(), member.Name],
        };
        return string.Join(' ', parts.SelectMany(part => Word().Matches(part)).Take(WordsPerText).Select(word => word.Value.ToLowerInvariant()));
    }

    private static IEnumerable<string> Parameters(ParameterInfo[] parameters) => parameters.SelectMany(p => new[] { p.ParameterType.Name, p.Name ?? "" });

    /// <summary>An order that mixes types, the same on every machine (FNV-1a).</summary>
    private static uint Order(string name) => name.Aggregate(2166136261u, (hash, c) => unchecked((hash ^ c) * 16777619u));

    [GeneratedRegex("[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")]
    private static partial Regex Word();
}
