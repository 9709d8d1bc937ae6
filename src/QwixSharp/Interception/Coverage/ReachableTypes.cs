using System.Reflection;

namespace QwixSharp.Interception.Coverage;

/// <summary>
/// Which methods virtual calls can run, from the types of which there are instances: those of the model's modules and
/// of what their fields hold, and those that the code makes.
/// </summary>
internal sealed class ReachableTypes
{
    private const BindingFlags Instance = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic;

    private readonly HashSet<Type> _types = [];
    private readonly HashSet<MethodInfo> _calls = [];

    /// <summary>Adds a type of which there are instances.</summary>
    /// <returns>The methods that calls known so far can run on it.</returns>
    internal IEnumerable<MethodInfo> AddType(Type type) =>
        type.IsAbstract || type.ContainsGenericParameters || !_types.Add(type) ? [] : Resolve(_calls, [type]);

    /// <summary>Adds a virtual call.</summary>
    /// <returns>The methods that it can run on the types known so far.</returns>
    internal IEnumerable<MethodInfo> AddCall(MethodInfo method) => _calls.Add(method) ? Resolve([method], _types) : [];

    /// <summary>What a virtual or interface method runs on a type; null where the type does not have it.</summary>
    internal static MethodInfo? Resolve(MethodInfo method, Type type)
    {
        if (!method.DeclaringType!.IsAssignableFrom(type)) return null;
        var definition = method.IsGenericMethod ? method.GetGenericMethodDefinition() : method;
        var target = method.DeclaringType.IsInterface ? FromInterface(definition, type) : FromClass(definition, type);
        return target is not null && method.IsGenericMethod ? target.MakeGenericMethod(method.GetGenericArguments()) : target;
    }

    private static List<MethodInfo> Resolve(IEnumerable<MethodInfo> calls, IEnumerable<Type> types) =>
        [.. from call in calls from type in types let target = Resolve(call, type) where target is not null select target];

    private static MethodInfo? FromInterface(MethodInfo method, Type type)
    {
        if (type.IsArray || !type.GetInterfaces().Contains(method.DeclaringType)) return null;
        var map = type.GetInterfaceMap(method.DeclaringType!);
        var index = Array.FindIndex(map.InterfaceMethods, m => Same(m, method));
        return index < 0 ? null : map.TargetMethods[index];
    }

    private static MethodInfo? FromClass(MethodInfo method, Type type)
    {
        var root = method.GetBaseDefinition();
        return type.GetMethods(Instance).FirstOrDefault(m => m.IsVirtual && m.Name == method.Name && Same(m.GetBaseDefinition(), root));
    }

    private static bool Same(MethodInfo a, MethodInfo b) => a.MetadataToken == b.MetadataToken && a.Module == b.Module;
}
