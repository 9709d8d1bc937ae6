using System.Reflection;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Models;

/// <summary>Loads tensors into a quantized model, on the meta device too, where each gets its memory then.</summary>
internal static class StateLoading
{
    private static readonly FieldInfo Handle = typeof(Tensor).GetField("handle", BindingFlags.Instance | BindingFlags.NonPublic)
        ?? throw new MissingFieldException("TorchSharp's Tensor has no field \"handle\"; this version of QwixSharp is made for TorchSharp 0.107.");

    /// <exception cref="QwixException">Names are missing or left over, or a shape or dtype does not fit; nothing is changed then.</exception>
    internal static (IList<string> Missing, IList<string> Unexpected) Load(
        ModelState state, Dictionary<string, Tensor> target, Dictionary<string, Tensor> source, bool strict, IList<string> skip)
    {
        string[] missing = [.. target.Keys.Where(k => !source.ContainsKey(k) && !skip.Contains(k))];
        string[] unexpected = [.. source.Keys.Where(k => !target.ContainsKey(k) && !skip.Contains(k))];
        if (strict && missing.Length + unexpected.Length > 0)
            throw new QwixException($"The state dict does not fit the quantized model. Missing: {List(missing)}. Left over: {List(unexpected)}. Quantize floating-point parameters with Qwix.QuantizeParams first, or load with strict: false.");
        var pairs = source.Where(s => target.ContainsKey(s.Key) && !skip.Contains(s.Key)).Select(s => (s.Key, From: s.Value, To: target[s.Key])).ToList();
        foreach (var (key, from, to) in pairs)
        {
            bool sameKind = from.is_floating_point() == to.is_floating_point() && (from.is_floating_point() || from.dtype == to.dtype);
            if (!from.shape.SequenceEqual(to.shape) || !sameKind)
                throw new QwixException($"\"{key}\" is {from.dtype} [{string.Join(", ", from.shape)}] in the state dict, but the quantized model has {to.dtype} [{string.Join(", ", to.shape)}] there. Quantize with the same rules on both sides.");
        }

        using var noGrad = no_grad();
        foreach (var (_, from, to) in pairs)
        {
            if (to.device_type == DeviceType.META)
                Materialize(to, from);
            else
                to.copy_(from);
        }

        state.Weights.DropKernelForms();
        return (missing, unexpected);
    }

    /// <summary>
    /// Gives a tensor without memory the values of another. TorchSharp has no way to do this for a tensor that a module
    /// holds, so its handle is exchanged.
    /// </summary>
    private static void Materialize(Tensor target, Tensor source)
    {
        var copy = source.to(target.dtype, copy: true).DetachFromDisposeScope().requires_grad_(target.requires_grad);
        var abstractHandle = Handle.GetValue(target);
        Handle.SetValue(target, Handle.GetValue(copy));
        Handle.SetValue(copy, abstractHandle);
        copy.Dispose();
    }

    private static string List(string[] names) =>
        names.Length == 0 ? "none" : string.Join(", ", names.Take(8)) + (names.Length > 8 ? $" and {names.Length - 8} more" : "");
}
