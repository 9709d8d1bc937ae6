namespace QwixSharp.Checkpoints.Pickle;

/// <summary>The names that a state dict's pickle may call, and what comes of them. There are no others.</summary>
internal static class PickleNames
{
    /// <summary>What the call of a name gives.</summary>
    /// <param name="call">The name and a tuple of arguments.</param>
    /// <exception cref="FormatException">The name is not in the list, or not called so.</exception>
    internal static object? Call(object?[] call)
    {
        if (call is not [PickleGlobal name, object?[] arguments])
            throw new FormatException("it calls what is no name");
        return (name.ToString(), arguments) switch
        {
            ("collections.OrderedDict", [] or [object?[] { Length: 0 }]) => new PickleDict(),
            ("torch.Size", [object?[] sizes]) => sizes,
            ("torch._utils._rebuild_tensor", [PickleStorage storage, long offset, object?[] shape, object?[] strides]) => Tensor(storage, offset, shape, strides),
            ("torch._utils._rebuild_tensor_v2", [PickleStorage storage, long offset, object?[] shape, object?[] strides, ..]) => Tensor(storage, offset, shape, strides),
            ("torch._utils._rebuild_tensor_v3", [PickleStorage storage, long offset, object?[] shape, object?[] strides, _, _, PickleGlobal { Module: "torch" } dtype, ..]) => Tensor(storage, offset, shape, strides, dtype.Name),
            ("torch._utils._rebuild_parameter", [PickleTensor tensor, ..]) => tensor,
            _ => throw new FormatException($"it makes an object of {CheckpointException.Quote(name.ToString())}, which is none of a state dict. Save only the state dict: torch.save(model.state_dict(), path)"),
        };
    }

    /// <summary>The storage that a persistent id stands for.</summary>
    /// <exception cref="FormatException">The id is none of a storage.</exception>
    internal static PickleStorage Persistent(object? id) => id is object?[] and ["storage", PickleGlobal { Module: "torch" or "torch.storage" } type, string key, string, long count]
        ? new PickleStorage(type.Name, key, count)
        : throw new FormatException("it refers to data that are no storage of the archive");

    private static PickleTensor Tensor(PickleStorage storage, long offset, object?[] shape, object?[] strides, string? dtype = null) =>
        new(storage, offset, Lengths(shape), Lengths(strides), dtype);

    private static long[] Lengths(object?[] lengths) => [.. lengths.Select(l => l as long? ?? throw new FormatException("a tensor's shape has what is no whole number"))];
}
