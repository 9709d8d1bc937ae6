using QwixSharp.Arrays;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Models;

/// <summary>
/// A module that mirrors one of the user's: its own parameters and buffers under their names, but for each quantized
/// parameter the buffers <c>name.qvalue</c>, <c>name.scale</c> and <c>name.zero_point</c>. It owns none of them.
/// </summary>
internal sealed class MirrorModule : nn.Module
{
    private IReadOnlyList<(string Name, QArray Array)> _arrays;

    internal MirrorModule(string name, IReadOnlyList<(string Name, QArray Array)> arrays) : base(name) => _arrays = arrays;

    public override IEnumerable<(string name, Tensor buffer)> named_buffers(bool recurse = true, bool include_nonpersistent = true) =>
        base.named_buffers(recurse, include_nonpersistent).Concat(QuantizedState.Buffers(_arrays));

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            foreach (var (_, child) in _internal_submodules)
                child.Dispose();
            // What is registered or shown here belongs to others, so the base class must not find it.
            _arrays = [];
            _internal_params.clear();
            _internal_buffers.clear();
            _internal_submodules.clear();
        }

        base.Dispose(disposing);
    }
}

/// <summary>Fills a module with what a quantized model holds, so that TorchSharp's own state dict, save and load see it.</summary>
internal static class QuantizedState
{
    /// <summary>
    /// The codes, scales and zero points of arrays as buffers. They are not registered, since an array may free its codes
    /// where a kernel has them in a form of its own, until they are asked for.
    /// </summary>
    internal static IEnumerable<(string Name, Tensor Buffer)> Buffers(IEnumerable<(string Name, QArray Array)> arrays)
    {
        foreach (var (name, array) in arrays)
        {
            yield return (name + ".qvalue", array.Codes);
            yield return (name + ".scale", array.Scale);
            if (array.ZeroPoint is { } zeroPoint)
                yield return (name + ".zero_point", zeroPoint);
        }
    }

    /// <summary>
    /// The quantized weights of one module by their names in it. Modules that run in C++ hold the parameters of their inner
    /// ones themselves, under dotted names such as <c>out_proj.weight</c>.
    /// </summary>
    internal static IReadOnlyList<(string Name, QArray Array)> ArraysOf(nn.Module module, string path, ModelState state)
    {
        var weights = state.Weights.All;
        if (weights.Count == 0)
            return [];
        int prefix = path.Length == 0 ? 0 : path.Length + 1;
        var own = module.named_parameters(false).Select(p => Join(path, p.name)).ToHashSet(StringComparer.Ordinal);
        return [.. weights.Where(w => own.Contains(w.Value.Use.Name)).Select(w => (w.Key[prefix..], w.Value.Array))];
    }

    /// <summary>Registers the parameters, buffers and children of a module but for what is quantized.</summary>
    internal static void Fill(nn.Module target, nn.Module source, string path, ModelState state)
    {
        foreach (var (name, parameter) in source.named_parameters(false))
        {
            // A parameter that modules share is shown once in quantized form, and no more as numbers under its other paths.
            if (state.IsReplaced(state.NameOf(parameter, Join(path, name))))
                continue;
            if (state.Adapters is null)
                target.register_parameter(name, parameter);
            else
                target.register_buffer(name, state.Frozen(parameter));
        }

        foreach (var (name, parameter) in AdaptersOf(source, path, state))
            target.register_parameter(name, parameter);

        foreach (var (name, buffer) in source.named_buffers(false))
            target.register_buffer(name, buffer);
        foreach (var (place, scale) in state.StaticScales.All.Where(s => ModuleOf(s.Key) == path))
        {
            var local = place[(path.Length == 0 ? 0 : path.Length + 1)..];
            target.register_buffer(local + "_scale", scale.Scale);
            if (scale.ZeroPoint is { } zeroPoint)
                target.register_buffer(local + "_zero_point", zeroPoint);
        }

        if (state.IsForTraining)
        {
            foreach (var (place, name, tensor) in state.Statistics.Live().Where(s => ModuleOf(s.Place) == path))
                target.register_buffer($"{place[(path.Length == 0 ? 0 : path.Length + 1)..]}.{name}", tensor);
        }

        foreach (var (name, child) in source.named_children())
        {
            var mirror = new MirrorModule(child.GetName(), ArraysOf(child, Join(path, name), state));
            Fill(mirror, child, Join(path, name), state);
            target.register_module(name, mirror);
        }
    }

    private static IEnumerable<(string Name, TorchSharp.Modules.Parameter Parameter)> AdaptersOf(nn.Module module, string path, ModelState state)
    {
        if (state.Adapters is null)
            return [];
        var own = module.named_parameters(false).Select(p => Join(path, p.name)).ToHashSet(StringComparer.Ordinal);
        return state.Adapters.ParametersOf(path, own.Contains);
    }

    internal static string Join(string path, string name) => path.Length == 0 ? name : $"{path}.{name}";

    private static string ModuleOf(string place) => place.LastIndexOf('.') is var dot and >= 0 ? place[..dot] : "";
}
