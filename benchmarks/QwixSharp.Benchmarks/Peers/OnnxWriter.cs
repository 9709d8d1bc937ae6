using System.Text;

namespace QwixSharp.Benchmarks.Peers;

/// <summary>Writes just enough of ONNX's protobuf to give a peer a model.</summary>
internal static class OnnxWriter
{
    public const int Float = 1, UInt8 = 2, Int8 = 3, Int32 = 6, Int64 = 7;

    public static byte[] Model(byte[] node, IEnumerable<byte[]> initializers, byte[] input, byte[] output) => Model([node], initializers, [input], output);

    public static byte[] Model(IEnumerable<byte[]> nodes, IEnumerable<byte[]> initializers, byte[][] inputs, byte[] output)
    {
        var graph = new MemoryStream();
        foreach (var node in nodes)
            Field(graph, 1, node);
        Field(graph, 2, "g");
        foreach (var initializer in initializers)
            Field(graph, 5, initializer);
        foreach (var input in inputs)
            Field(graph, 11, input);
        Field(graph, 12, output);
        var model = new MemoryStream();
        Field(model, 1, 8);
        Field(model, 7, graph.ToArray());
        Field(model, 8, OpSet("", 17));
        Field(model, 8, OpSet("com.microsoft", 1));
        return model.ToArray();
    }

    public static byte[] Node(string op, string domain, string[] inputs, params (string Name, long Value)[] attributes) =>
        Node(op, domain, inputs, [.. attributes.Select(a => Attribute(a.Name, a.Value))]);

    public static byte[] Attribute(string name, long value)
    {
        var attribute = new MemoryStream();
        Field(attribute, 1, name);
        Field(attribute, 3, value);
        Field(attribute, 20, 2);
        return attribute.ToArray();
    }

    public static byte[] Attribute(string name, float value)
    {
        var attribute = new MemoryStream();
        Field(attribute, 1, name);
        VarInt(attribute, 2 << 3 | 5);
        attribute.Write(BitConverter.GetBytes(value));
        Field(attribute, 20, 1);
        return attribute.ToArray();
    }

    public static byte[] Attribute(string name, long[] values)
    {
        var attribute = new MemoryStream();
        Field(attribute, 1, name);
        foreach (var value in values)
            Field(attribute, 8, value);
        Field(attribute, 20, 7);
        return attribute.ToArray();
    }

    public static byte[] Node(string op, string domain, string[] inputs, byte[][] attributes) => Node(op, domain, inputs, ["y"], attributes);

    public static byte[] Node(string op, string domain, string[] inputs, string[] outputs, byte[][] attributes)
    {
        var node = new MemoryStream();
        foreach (var input in inputs)
            Field(node, 1, input);
        foreach (var output in outputs)
            Field(node, 2, output);
        Field(node, 4, op);
        foreach (var attribute in attributes)
            Field(node, 5, attribute);
        if (domain.Length > 0)
            Field(node, 7, domain);
        return node.ToArray();
    }

    public static byte[] Tensor(string name, int type, long[] shape, ReadOnlySpan<byte> data)
    {
        var tensor = new MemoryStream();
        foreach (var size in shape)
            Field(tensor, 1, size);
        Field(tensor, 2, type);
        Field(tensor, 8, name);
        Field(tensor, 9, data);
        return tensor.ToArray();
    }

    public static byte[] Value(string name, int type, params long[] shape)
    {
        var sizes = new MemoryStream();
        foreach (var size in shape)
        {
            var dimension = new MemoryStream();
            Field(dimension, 1, size);
            Field(sizes, 1, dimension.ToArray());
        }
        var tensor = new MemoryStream();
        Field(tensor, 1, type);
        Field(tensor, 2, sizes.ToArray());
        var kind = new MemoryStream();
        Field(kind, 1, tensor.ToArray());
        var value = new MemoryStream();
        Field(value, 1, name);
        Field(value, 2, kind.ToArray());
        return value.ToArray();
    }

    private static byte[] OpSet(string domain, long version)
    {
        var set = new MemoryStream();
        Field(set, 1, domain);
        Field(set, 2, version);
        return set.ToArray();
    }

    private static void Field(MemoryStream stream, int field, ReadOnlySpan<byte> bytes)
    {
        VarInt(stream, (ulong)field << 3 | 2);
        VarInt(stream, (ulong)bytes.Length);
        stream.Write(bytes);
    }

    private static void Field(MemoryStream stream, int field, string text) => Field(stream, field, Encoding.UTF8.GetBytes(text));

    private static void Field(MemoryStream stream, int field, long value)
    {
        VarInt(stream, (ulong)field << 3);
        VarInt(stream, (ulong)value);
    }

    private static void VarInt(MemoryStream stream, ulong value)
    {
        for (; value >= 0x80; value >>= 7)
            stream.WriteByte((byte)(value | 0x80));
        stream.WriteByte((byte)value);
    }
}
