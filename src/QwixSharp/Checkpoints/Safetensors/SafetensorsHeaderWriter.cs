using System.Buffers;
using System.Buffers.Binary;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace QwixSharp.Checkpoints.Safetensors;

/// <summary>Writes the header of a safetensors file.</summary>
internal static class SafetensorsHeaderWriter
{
    private const int Alignment = 8;

    private static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The header of a file, its length in front and spaces behind, so that the data is aligned.</summary>
    /// <param name="tensors">The tensors.</param>
    /// <param name="metadata">What the file says beside them.</param>
    /// <param name="sorted">
    /// The tensors in the order of their data: the widest elements first and then by name, as the format's own library has
    /// them, so that each is aligned.
    /// </param>
    internal static byte[] Write(IReadOnlyList<TensorEntry> tensors, IReadOnlyDictionary<string, string>? metadata, out IReadOnlyList<TensorEntry> sorted)
    {
        sorted = [.. tensors.OrderByDescending(t => t.Dtype.Bits()).ThenBy(t => t.Name, StringComparer.Ordinal)];
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, Options))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject("__metadata__");
                foreach (var (key, value) in metadata)
                    json.WriteString(key, value);
                json.WriteEndObject();
            }

            long offset = 0;
            foreach (var entry in sorted)
            {
                WriteEntry(json, entry, offset);
                offset += entry.ByteLength;
            }

            json.WriteEndObject();
        }

        int length = (buffer.WrittenCount + Alignment - 1) / Alignment * Alignment;
        var header = new byte[8 + length];
        BinaryPrimitives.WriteInt64LittleEndian(header, length);
        buffer.WrittenSpan.CopyTo(header.AsSpan(8));
        header.AsSpan(8 + buffer.WrittenCount).Fill((byte)' ');
        return header;
    }

    private static void WriteEntry(Utf8JsonWriter json, TensorEntry entry, long offset)
    {
        if (entry.Name == "__metadata__")
            throw new ArgumentException("A tensor of a safetensors file cannot have the name \"__metadata__\".");
        json.WriteStartObject(entry.Name);
        json.WriteString("dtype", SafetensorsDtypes.NameOf(entry.Dtype));
        json.WriteStartArray("shape");
        foreach (long axis in entry.Shape)
            json.WriteNumberValue(axis);
        json.WriteEndArray();
        json.WriteStartArray("data_offsets");
        json.WriteNumberValue(offset);
        json.WriteNumberValue(offset + entry.ByteLength);
        json.WriteEndArray();
        json.WriteEndObject();
    }
}
