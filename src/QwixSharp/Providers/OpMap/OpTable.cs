using System.Collections.Concurrent;
using QwixSharp.Interception;
using QwixSharp.Providers.Models;

namespace QwixSharp.Providers.OpMap;

/// <summary>Answers a call of a TorchSharp op in a quantized model.</summary>
internal delegate object? OpHandler(ModelRun run, in OpCall call);

/// <summary>Which TorchSharp ops are products, and how each becomes one of the provider's four.</summary>
internal static class OpTable
{
    private static readonly Dictionary<string, OpHandler> Handlers = new[] { MatrixProducts.Handlers, Convolutions.Handlers, Attention.Handlers, Lookups.Handlers }
        .SelectMany(h => h).ToDictionary();

    private static readonly ConcurrentDictionary<int, OpHandler?> ById = new();

    /// <summary>The handler of an op; null where the op is no product.</summary>
    internal static OpHandler? Find(OpDescriptor op) =>
        ById.TryGetValue(op.Id, out var handler) ? handler : ById[op.Id] = Handlers.GetValueOrDefault(ShortName(op));

    /// <summary>The op's name without its class: functions, methods and linear-algebra variants of a name mean the same.</summary>
    private static string ShortName(OpDescriptor op)
    {
        var declaring = op.Method.DeclaringType!.Name;
        return declaring is "Tensor" or "torch" or "functional" or "linalg" ? op.Method.Name : op.Name;
    }
}
