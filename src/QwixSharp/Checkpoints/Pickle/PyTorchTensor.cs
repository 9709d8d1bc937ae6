using QwixSharp.Checkpoints.Files;

namespace QwixSharp.Checkpoints.Pickle;

/// <summary>A tensor of a state dict and where it lies.</summary>
/// <param name="Entry">Its description.</param>
/// <param name="Storage">The entry of the zip file in which its elements are.</param>
/// <param name="Offset">The offset of its first element in the storage, in bytes.</param>
/// <param name="Strides">In elements.</param>
/// <param name="Extent">The elements from the first to the last, both among them.</param>
/// <param name="IsInPlace">Whether the file holds its elements as they are, one after another.</param>
internal sealed record PyTorchTensor(TensorEntry Entry, ZipEntry Storage, long Offset, long[] Strides, long Extent, bool IsInPlace)
{
    /// <summary>Finds a tensor in the archive.</summary>
    /// <exception cref="FormatException">It does not lie within its storage, or has a dtype that is not read.</exception>
    internal static PyTorchTensor Locate(CheckpointFile file, Dictionary<string, ZipEntry> entries, string folder, string name, PickleTensor tensor)
    {
        string quoted = CheckpointException.Quote(name);
        var dtype = DtypeOf(tensor) ?? throw new FormatException($"the tensor {quoted} has the dtype {CheckpointException.Quote(tensor.Dtype ?? tensor.Storage.Type)}, which is not read");
        if (!entries.TryGetValue($"{folder}data/{tensor.Storage.Key}", out var storage))
            throw new FormatException($"the storage {CheckpointException.Quote(tensor.Storage.Key)} of the tensor {quoted} is not in {CheckpointException.Quote(file.Path)}");
        TensorEntry entry;
        try
        {
            entry = new TensorEntry(name, dtype, tensor.Shape);
        }
        catch (ArgumentException error)
        {
            throw new FormatException($"the tensor {quoted} cannot be: {error.Message}", error);
        }

        int size = dtype.Bits() / 8;
        long extent = Span(tensor), available = storage.Length / size;
        // What repeats elements would take more memory than the file has; torch.save of a clone does not.
        if (extent < 0 || tensor.Offset < 0 || tensor.Offset > available || extent > available - tensor.Offset || entry.ByteLength > storage.Length)
            throw new FormatException($"the tensor {quoted} does not lie within its storage. Save a contiguous copy of it");
        bool isContiguous = entry.ByteLength == 0 || IsContiguous(tensor);
        return new PyTorchTensor(entry, storage, tensor.Offset * size, tensor.Strides, extent, isContiguous && storage.PackedLength is null);
    }

    /// <summary>The elements from the first to the last; −1 where that cannot be.</summary>
    private static long Span(PickleTensor tensor)
    {
        if (tensor.Strides.Length != tensor.Shape.Length || tensor.Strides.Any(s => s < 0))
            return -1;
        if (tensor.Shape.Contains(0))
            return 0;
        try
        {
            long last = 0;
            for (int axis = 0; axis < tensor.Shape.Length; axis++)
                last = checked(last + ((tensor.Shape[axis] - 1) * tensor.Strides[axis]));
            return checked(last + 1);
        }
        catch (OverflowException)
        {
            return -1;
        }
    }

    private static bool IsContiguous(PickleTensor tensor)
    {
        long expected = 1;
        for (int axis = tensor.Shape.Length - 1; axis >= 0; axis--)
        {
            if (tensor.Shape[axis] != 1 && tensor.Strides[axis] != expected)
                return false;
            expected *= tensor.Shape[axis];
        }

        return true;
    }

    private static CheckpointDtype? DtypeOf(PickleTensor tensor) => (tensor.Dtype ?? tensor.Storage.Type) switch
    {
        "DoubleStorage" => CheckpointDtype.Float64,
        "FloatStorage" => CheckpointDtype.Float32,
        "HalfStorage" => CheckpointDtype.Float16,
        "BFloat16Storage" => CheckpointDtype.BFloat16,
        "LongStorage" => CheckpointDtype.Int64,
        "IntStorage" => CheckpointDtype.Int32,
        "ShortStorage" => CheckpointDtype.Int16,
        "CharStorage" => CheckpointDtype.Int8,
        "ByteStorage" => CheckpointDtype.UInt8,
        "BoolStorage" => CheckpointDtype.Bool,
        "ComplexFloatStorage" => CheckpointDtype.Complex64,
        "float8_e4m3fn" => CheckpointDtype.Float8E4M3Fn,
        "float8_e5m2" => CheckpointDtype.Float8E5M2,
        "uint16" => CheckpointDtype.UInt16,
        "uint32" => CheckpointDtype.UInt32,
        "uint64" => CheckpointDtype.UInt64,
        _ => null,
    };
}
