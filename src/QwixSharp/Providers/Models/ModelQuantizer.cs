using QwixSharp.Interception;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Models;

/// <summary>Makes a quantized model of a module: runs it once to see its ops, and quantizes the weights they use.</summary>
internal static class ModelQuantizer
{
    /// <summary>Quantizes a module.</summary>
    /// <param name="model">The user's module, or a quantized model to be quantized further.</param>
    /// <param name="provider">The provider.</param>
    /// <param name="methods">Names of other methods that will be called.</param>
    /// <param name="wrap">Makes the module around a state.</param>
    /// <param name="run">Runs the module on the user's inputs.</param>
    internal static TModule Quantize<TModule>(nn.Module model, ModelProvider provider, string[] methods, Func<ModelState, TModule> wrap, Action<TModule> run)
        where TModule : nn.Module, IQuantizedModel, IHasCore
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(provider);
        var inner = (model as IHasCore)?.Core.State;
        var original = inner?.Model ?? model;
        if (inner?.Providers.FirstOrDefault(p => !p.IsForTraining && !provider.CanFollow(p)) is { } other)
            throw new QwixException($"A model quantized with {other.GetType().Name} cannot be quantized further with {provider.GetType().Name}. Quantize the original model.");
        foreach (var method in methods)
            QuantizedCore.FindMethod(original, method);
        if (provider.Strict)
        {
            foreach (var method in methods.Prepend("forward"))
                Interceptor.Inspect(original, QuantizedCore.FindMethod(original, method)).ThrowIfIncomplete();
        }

        var state = new ModelState(original, [.. inner?.Providers.Where(p => !p.IsForTraining) ?? [], provider]);
        if (inner is not null)
            state.CopyFrom(inner);
        var wrapper = wrap(state);
        try
        {
            using (InEvaluation(original))
            using (no_grad())
            using (NewDisposeScope())
                run(wrapper);
            provider.MarkRun();
            if (!state.HasMatched(provider))
                throw NothingMatched(original, provider);
            state.EndLearning();
            wrapper.Core.Refresh();
            wrapper.Core.FollowAdditions();
            return wrapper;
        }
        catch
        {
            wrapper.Dispose();
            throw;
        }
    }

    /// <summary>An input on the device of a model that is abstract (on the meta device); else the input itself.</summary>
    internal static T ToModelDevice<T>(nn.Module model, T input) =>
        input is Tensor tensor && tensor.device_type != DeviceType.META && model.parameters().Any(p => p.device_type == DeviceType.META)
            ? (T)(object)tensor.to(META)
            : input;

    /// <summary>Puts every module into evaluation mode, so that a run changes no statistics; disposing puts them back.</summary>
    private static Restore InEvaluation(nn.Module model)
    {
        List<(nn.Module Module, bool Training)> modes = [(model, model.training), .. model.modules().Select(m => (m, m.training))];
        model.eval();
        // Parents come before their children, whose own mode is set after.
        return new Restore(() => modes.ForEach(m => m.Module.train(m.Training)));
    }

    private static RuleException NothingMatched(nn.Module model, ModelProvider provider)
    {
        var paths = model.named_modules().Select(m => m.name).Where(n => n.Length > 0).Take(12);
        return new RuleException($"No rule matches any op of {model.GetType().Name}. ModulePath must match the whole dotted path of a module, such as: {string.Join(", ", paths)}. Rules: {string.Join("; ", provider.Rules)}");
    }

    private readonly struct Restore(Action action) : IDisposable
    {
        public void Dispose() => action();
    }
}
