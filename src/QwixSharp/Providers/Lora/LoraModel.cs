using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Lora;

/// <summary>Refuses a model that was given no adapter.</summary>
internal static class LoraModel
{
    /// <exception cref="RuleException">No weight has an adapter; the model is disposed then.</exception>
    internal static TModule Checked<TModule>(TModule model, LoraProvider provider) where TModule : nn.Module, ILoraModel
    {
        if (model.Adapters.Targets.Count > 0)
            return model;
        model.Dispose();
        throw new RuleException($"No op that a LoraRule matches multiplies with a weight, so that there is nothing to adapt. Match modules with linear layers or convolutions; embeddings have no adapters. Rules: {string.Join("; ", provider.Rules)}");
    }
}
