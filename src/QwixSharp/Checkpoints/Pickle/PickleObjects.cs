namespace QwixSharp.Checkpoints.Pickle;

/// <summary>A name that a pickle refers to. Nothing is ever looked up or run by it.</summary>
internal sealed record PickleGlobal(string Module, string Name)
{
    public override string ToString() => $"{Module}.{Name}";
}

/// <summary>A dict, ordered or not.</summary>
internal sealed class PickleDict
{
    /// <summary>Keys and values in the order in which they were set; a key that is set again keeps its first place.</summary>
    internal OrderedDictionary<object, object?> Items { get; } = [];
}

/// <summary>Where the elements of tensors are: an entry of the archive.</summary>
/// <param name="Type">The class of the storage, which tells the dtype.</param>
/// <param name="Key">The name of the entry.</param>
/// <param name="Count">The elements; for an untyped storage the bytes.</param>
internal sealed record PickleStorage(string Type, string Key, long Count);

/// <summary>A tensor as a view of a storage.</summary>
internal sealed record PickleTensor(PickleStorage Storage, long Offset, long[] Shape, long[] Strides, string? Dtype);
