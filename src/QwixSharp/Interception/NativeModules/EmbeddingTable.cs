using System.Runtime.InteropServices;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>Questions about the table of an Embedding or EmbeddingBag that only running it can answer.</summary>
[NotIntercepted]
internal static class EmbeddingTable
{
    /// <summary>
    /// The registered parameter if native code has the same values, or else native code's own tensor: modules made by
    /// <c>Embedding_from_pretrained</c> register a parameter that their forward pass does not use.
    /// </summary>
    internal static Parameter Effective(Parameter registered, Parameter native)
    {
        // On the meta device there are no values; the native table stays where they are.
        var isSame = registered.device.type == TorchSharp.DeviceType.META
            || (registered.shape.SequenceEqual(native.shape) && registered.dtype == native.dtype && registered.Equals(native));
        if (!isSame) return (Parameter)native.DetachFromDisposeScope();
        native.Dispose();
        return registered;
    }

    /// <summary>
    /// Whether a lookup writes to the table (<c>max_norm</c>). Without changing a value: a lookup of nothing still
    /// counts as a change in place, which makes autograd refuse a product that holds the table.
    /// </summary>
    internal static bool IsChangedBy(Tensor weight, Func<Tensor, Tensor> lookup)
    {
        if (weight.device.type == TorchSharp.DeviceType.META || weight.numel() == 0) return false;
        using var scope = NewDisposeScope();
        using var recording = inference_mode(false);
        using var enabled = enable_grad();
        var row = weight.detach().narrow(0, 0, 1);
        row.requires_grad = true;
        var square = (row * row).sum();
        using (no_grad()) lookup(zeros([0], dtype: ScalarType.Int64, device: weight.device));
        try
        {
            square.backward();
            return false;
        }
        catch (ExternalException)
        {
            return true;
        }
    }

    /// <summary>Looks up each row once, the first two twice, and reads the options off the gradient.</summary>
    internal static EmbeddingGradientOptions Gradient(nn.Module module, Parameter weight, Func<Tensor, Tensor> lookup)
    {
        if (weight.device.type == TorchSharp.DeviceType.META) return new(-1, false, false);
        lock (Probe.Gate)
        {
            using var scope = NewDisposeScope();
            var rows = weight.shape[0];
            var indices = cat([arange(rows, dtype: ScalarType.Int64, device: weight.device), arange(Math.Min(rows, 2), dtype: ScalarType.Int64, device: weight.device)], 0);
            var gradient = Probe.Gradients(module, () => lookup(indices), weight)[0];
            var isSparse = gradient.is_sparse;
            if (isSparse) gradient = gradient.to_dense();
            var column = Probe.ToArray(gradient.select(1, 0));
            var padding = Array.IndexOf(column, 0.0);
            return new(padding, !column.Take(2).Any(g => g == 2), isSparse);
        }
    }
}
