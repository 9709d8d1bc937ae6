namespace QwixSharp.Tests.Architecture;

/// <summary>The rooms of the library, which are the namespaces under <c>QwixSharp</c>, and what each may depend on.</summary>
internal static class Rooms
{
    private const string Library = "QwixSharp";

    /// <summary>Data goes one way: a rule, a provider, QArrays, an op, a kernel. The front door, not listed, knows all.</summary>
    public static readonly IReadOnlyDictionary<string, string[]> MayDependOn = new Dictionary<string, string[]>
    {
        ["Kernels"] = [],
        ["Numerics"] = [],
        ["Interception"] = [],
        ["Arrays"] = ["Numerics", "Kernels"],
        ["Caches"] = ["Arrays", "Numerics", "Kernels", "Ops", "Interception"],
        ["Ops"] = ["Arrays", "Numerics", "Kernels"],
        ["Rules"] = ["Numerics"],
        ["Calibration"] = ["Arrays", "Numerics"],
        ["Providers"] = ["Rules", "Ops", "Calibration", "Arrays", "Numerics", "Interception"],
        ["Checkpoints"] = ["Arrays", "Rules", "Calibration", "Numerics", "Providers"],
    };

    /// <summary>What a rule may hold of the arrays' room: immutable settings, but nothing that has or makes an array.</summary>
    private static readonly string[] SettingsOfArrays = ["CalibrationMethod", "CalibrationKind", "TileSize", "Tiling"];

    /// <summary>Says what is wrong with a reference, or null where the design allows it.</summary>
    public static string? Fault(TypeReference reference)
    {
        if (RoomOf(reference.From) is not { } from) return null;
        if (!MayDependOn.TryGetValue(from, out var allowed))
            return $"{reference.From} is in a room that the design does not name: {from}.";
        if (from == "Interception" && IsForeign(reference.To.Assembly))
            return $"{reference.From} uses {reference.To} of {reference.To.Assembly}, but Interception knows TorchSharp alone.";
        if (reference.To.Assembly != reference.From.Assembly) return null;

        if (reference.To is { Namespace: Library } root && !root.Name.EndsWith("Exception", StringComparison.Ordinal))
            return $"{reference.From} uses {reference.To}: no room knows the front door.";
        if (RoomOf(reference.To) is not { } to || to == from || allowed.Contains(to)) return null;
        if ((from, to) == ("Rules", "Arrays") && SettingsOfArrays.Contains(reference.To.Name)) return null;
        return $"{reference.From} uses {reference.To}: {from} may depend on {(allowed is [] ? "no other room" : string.Join(", ", allowed))} only.";
    }

    /// <summary>The first part of the namespace after the library's own, or null for the front door and what the compiler makes up.</summary>
    private static string? RoomOf(NamedType type) =>
        type.Namespace.StartsWith(Library + ".", StringComparison.Ordinal) ? type.Namespace.Split('.')[1] : null;

    private static bool IsForeign(string assembly) =>
        assembly is not (Library or "TorchSharp" or "System" or "netstandard" or "mscorlib") && !assembly.StartsWith("System.", StringComparison.Ordinal);
}
