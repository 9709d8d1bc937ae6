using TorchSharp;

namespace QwixSharp.Interception;

/// <summary>The names of a model's modules, as <c>named_modules()</c> gives them; the model itself is the empty string.</summary>
internal sealed class ModulePaths
{
    private readonly Dictionary<torch.nn.Module, string> _paths = new(ReferenceEqualityComparer.Instance);

    internal ModulePaths(torch.nn.Module root)
    {
        _paths[root] = "";
        foreach (var (name, module) in root.named_modules()) _paths.TryAdd(module, name);
    }

    internal string? Of(torch.nn.Module module) => _paths.GetValueOrDefault(module);

    /// <summary>The name of a module that is not registered in the model: where it was called, and its type.</summary>
    internal static string Outside(string parent, torch.nn.Module module) =>
        parent.Length == 0 ? "?" + module.GetType().Name : $"{parent}.?{module.GetType().Name}";
}
