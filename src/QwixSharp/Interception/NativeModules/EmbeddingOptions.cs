using System.Runtime.CompilerServices;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>What an Embedding was made with; TorchSharp keeps none of it, so the native module is asked.</summary>
[NotIntercepted]
internal sealed class EmbeddingOptions
{
    private static readonly ConditionalWeakTable<Embedding, EmbeddingOptions> Known = [];
    private readonly Parameter _registered;
    private readonly bool _changesTable;
    private readonly Lazy<EmbeddingGradientOptions> _gradient;

    private EmbeddingOptions(Embedding module)
    {
        _registered = ModuleParameters.Required(module, "weight");
        Weight = EmbeddingTable.Effective(_registered, module.weight!);
        _changesTable = EmbeddingTable.IsChangedBy(Weight, indices => module.forward(indices));
        var weak = new WeakReference<Embedding>(module);
        _gradient = new(() => weak.TryGetTarget(out var alive) ? EmbeddingTable.Gradient(alive, Weight, indices => alive.forward(indices)) : new(-1, false, false));
    }

    /// <summary>The table that native code looks up, as the registered parameter where that is the same.</summary>
    internal Parameter Weight { get; }

    /// <summary>What happens to the gradient; measured at the first use, by one backward pass of the table.</summary>
    internal EmbeddingGradientOptions Gradient => _gradient.Value;

    internal bool MustRunNatively => _changesTable || (is_grad_enabled() && Weight.requires_grad && Gradient.IsSparse);

    internal static EmbeddingOptions Of(Embedding module)
    {
        var options = Known.GetValue(module, static m => new(m));
        if (ReferenceEquals(options._registered, ModuleParameters.Required(module, "weight"))) return options;
        options = new(module);
        Known.AddOrUpdate(module, options);
        return options;
    }

    internal Tensor RunNatively(Embedding module, Tensor input) => module.forward(input);
}
