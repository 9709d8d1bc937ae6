using TorchSharp;
using TorchSharp.Modules;

namespace QwixSharp.Interception.NativeModules;

/// <summary>Finds the registered parameters of a native module.</summary>
/// <remarks>
/// Properties such as <c>Embedding.weight</c> make a new managed object at each access; only the registered object is
/// the same at every call, which is how a weight is recognized. It is looked up anew at each call, since
/// <c>to()</c> and setters may replace it.
/// </remarks>
[NotIntercepted]
internal static class ModuleParameters
{
    internal static Parameter Required(torch.nn.Module module, string name) =>
        module.get_parameter(name)
        ?? throw new QwixException($"{module.GetName()} has no parameter '{name}': register it again under this name, or exclude the module by a rule.");

    internal static Parameter? Optional(torch.nn.Module module, string name) => module.get_parameter(name);
}
