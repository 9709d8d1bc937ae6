using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;

namespace QwixSharp.Checkpoints.Gguf;

/// <summary>Writes a header of GGUF version 3.</summary>
internal static class GgufHeaderWriter
{
    private const uint Version = 3;

    /// <summary>The header, up to where the tensors' data begin.</summary>
    /// <param name="metadata">From key to number, bool, string or array of one of these.</param>
    /// <param name="tensors">The tensors; their offsets count from the end of the header.</param>
    /// <param name="alignment">The alignment of what follows.</param>
    /// <exception cref="ArgumentException">A value is of a type that GGUF has no kind for.</exception>
    internal static byte[] Write(IEnumerable<KeyValuePair<string, object>> metadata, IReadOnlyList<GgufTensor> tensors, uint alignment)
    {
        var buffer = new ArrayBufferWriter<byte>();
        Write(buffer, GgufHeader.Magic);
        Write(buffer, Version);
        Write(buffer, (ulong)tensors.Count);
        var pairs = metadata.ToArray();
        Write(buffer, (ulong)pairs.Length);
        foreach (var (key, value) in pairs)
        {
            WriteString(buffer, key);
            Write(buffer, (uint)KindOf(key, value.GetType()));
            WriteValue(buffer, key, value);
        }

        foreach (var tensor in tensors)
        {
            WriteString(buffer, tensor.Name);
            Write(buffer, (uint)tensor.Shape.Length);
            for (int axis = tensor.Shape.Length - 1; axis >= 0; axis--)
                Write(buffer, (ulong)tensor.Shape[axis]);
            Write(buffer, tensor.Type.Id);
            Write(buffer, (ulong)tensor.Offset);
        }

        var header = new byte[GgufHeader.Align(buffer.WrittenCount, alignment)];
        buffer.WrittenSpan.CopyTo(header);
        return header;
    }

    private static GgufValueType KindOf(string key, Type type)
    {
        try
        {
            return GgufValueTypes.Of(type);
        }
        catch (ArgumentException error)
        {
            throw new ArgumentException($"The metadata value of {CheckpointException.Quote(key)} cannot be written. {error.Message}", error);
        }
    }

    private static void WriteValue(ArrayBufferWriter<byte> buffer, string key, object value)
    {
        switch (value)
        {
            case byte number: WriteNumbers<byte>(buffer, [number]); break;
            case sbyte number: WriteNumbers<sbyte>(buffer, [number]); break;
            case ushort number: WriteNumbers<ushort>(buffer, [number]); break;
            case short number: WriteNumbers<short>(buffer, [number]); break;
            case uint number: WriteNumbers<uint>(buffer, [number]); break;
            case int number: WriteNumbers<int>(buffer, [number]); break;
            case float number: WriteNumbers<float>(buffer, [number]); break;
            case bool flag: WriteNumbers<bool>(buffer, [flag]); break;
            case ulong number: WriteNumbers<ulong>(buffer, [number]); break;
            case long number: WriteNumbers<long>(buffer, [number]); break;
            case double number: WriteNumbers<double>(buffer, [number]); break;
            case string text: WriteString(buffer, text); break;
            default: WriteArray(buffer, key, (Array)value); break;
        }
    }

    private static void WriteArray(ArrayBufferWriter<byte> buffer, string key, Array array)
    {
        var elementType = array.GetType().GetElementType()!;
        Write(buffer, (uint)KindOf(key, elementType));
        Write(buffer, (ulong)array.Length);
        if (elementType.IsPrimitive)
        {
            // All kinds are stored as .NET holds them, bool as one byte.
            int size = elementType == typeof(bool) ? 1 : Marshal.SizeOf(elementType);
            buffer.Write(MemoryMarshal.CreateReadOnlySpan(ref MemoryMarshal.GetArrayDataReference(array), array.Length * size));
            return;
        }

        foreach (object element in array)
            WriteValue(buffer, key, element);
    }

    private static void WriteString(ArrayBufferWriter<byte> buffer, string text)
    {
        Write(buffer, (ulong)Encoding.UTF8.GetByteCount(text));
        Encoding.UTF8.GetBytes(text, buffer);
    }

    private static void WriteNumbers<T>(ArrayBufferWriter<byte> buffer, ReadOnlySpan<T> numbers) where T : unmanaged => buffer.Write(MemoryMarshal.AsBytes(numbers));

    private static void Write(ArrayBufferWriter<byte> buffer, uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(buffer.GetSpan(4), value);
        buffer.Advance(4);
    }

    private static void Write(ArrayBufferWriter<byte> buffer, ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(buffer.GetSpan(8), value);
        buffer.Advance(8);
    }
}
