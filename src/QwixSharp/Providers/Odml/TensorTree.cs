using System.Runtime.CompilerServices;
using QwixSharp.Providers.OpMap;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>The tensors in arguments and results: themselves, and in arrays, lists, dictionaries and tuples.</summary>
internal static class TensorTree
{
    internal static IEnumerable<Tensor> Leaves(object? value) => value switch
    {
        Tensor tensor => [tensor],
        IEnumerable<Tensor?> tensors => tensors.OfType<Tensor>(),
        IEnumerable<KeyValuePair<string, Tensor>> named => named.Select(n => n.Value),
        TensorIndex[] indices => indices.Select(WeightViews.TensorOf).OfType<Tensor>(),
        object?[] items => items.SelectMany(Leaves),
        ITuple tuple => Enumerable.Range(0, tuple.Length).SelectMany(i => Leaves(tuple[i])),
        _ => [],
    };

    /// <summary>A value with each tensor in it replaced; what holds them is made anew.</summary>
    internal static object? Map(object? value, Func<Tensor, Tensor> f) => value switch
    {
        Tensor tensor => f(tensor),
        Tensor[] tensors => Array.ConvertAll(tensors, t => t is null ? t! : f(t)),
        List<Tensor> tensors => tensors.ConvertAll(t => f(t)),
        Dictionary<string, Tensor> named => named.ToDictionary(n => n.Key, n => f(n.Value), named.Comparer),
        ITuple tuple => Activator.CreateInstance(tuple.GetType(), [.. Enumerable.Range(0, tuple.Length).Select(i => Map(tuple[i], f))]),
        _ => value,
    };
}
