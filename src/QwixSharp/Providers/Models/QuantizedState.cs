using static TorchSharp.torch;

namespace QwixSharp.Providers.Models;

/// <summary>
/// A module that mirrors one of the user's: its own parameters and buffers under their names, but for each quantized
/// parameter the buffers <c>name.qvalue</c>, <c>name.scale</c> and <c>name.zero_point</c>. It owns none of them.
/// </summary>
internal sealed class MirrorModule : nn.Module
{
    internal MirrorModule(string name) : base(name)
    {
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            foreach (var (_, child) in _internal_submodules)
                child.Dispose();
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
    /// <summary>Registers the parameters, buffers and children of a module and of its quantized form.</summary>
    internal static void Fill(nn.Module target, nn.Module source, string path, ModelState state)
    {
        var weights = state.Weights.All;
        foreach (var (name, parameter) in source.named_parameters(false))
        {
            var full = Join(path, name);
            if (!state.IsReplaced(full))
                target.register_parameter(name, parameter);
            foreach (var (arrayName, weight) in weights.Where(w => w.Value.Use.Name == full))
            {
                var local = arrayName[(full.Length - name.Length)..];
                target.register_buffer(local + ".qvalue", weight.Array.Codes);
                target.register_buffer(local + ".scale", weight.Array.Scale);
                if (weight.Array.ZeroPoint is { } zeroPoint)
                    target.register_buffer(local + ".zero_point", zeroPoint);
            }
        }

        foreach (var (name, buffer) in source.named_buffers(false))
            target.register_buffer(name, buffer);
        foreach (var (place, scale) in state.StaticScales.All.Where(s => ModuleOf(s.Key) == path))
        {
            var local = place[(path.Length == 0 ? 0 : path.Length + 1)..];
            target.register_buffer(local + "_scale", scale.Scale);
            if (scale.ZeroPoint is { } zeroPoint)
                target.register_buffer(local + "_zero_point", zeroPoint);
        }

        foreach (var (name, child) in source.named_children())
        {
            var mirror = new MirrorModule(child.GetName());
            Fill(mirror, child, Join(path, name), state);
            target.register_module(name, mirror);
        }
    }

    internal static string Join(string path, string name) => path.Length == 0 ? name : $"{path}.{name}";

    private static string ModuleOf(string place) => place.LastIndexOf('.') is var dot and >= 0 ? place[..dot] : "";
}
