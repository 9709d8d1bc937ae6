using QwixSharp.Interception;
using QwixSharp.Providers.Models;
using QwixSharp.Rules;

namespace QwixSharp.Providers.OpMap;

/// <summary>Rows taken from a table that is a parameter: an embedding.</summary>
internal static class Lookups
{
    internal static readonly Dictionary<string, OpHandler> Handlers = new() { ["index_select"] = IndexSelect };

    private static object? IndexSelect(ModelRun run, in OpCall call)
    {
        var table = run.State.Operand(Arguments.Tensor(call, 0));
        if (!table.IsWeight || (long)call.Arguments[1]! is not 0 || table.Value.dim() != 2)
            return run.Proceed(call);
        return run.Find(call, OpNames.Embedding) is { } found
            ? found.Provider.Embedding(found.Site, table, Arguments.Tensor(call, 2))
            : run.Proceed(call);
    }
}
