using QwixSharp.LiteRT.FlatBuffers;

namespace QwixSharp.LiteRT;

/// <summary>Reads the tables of a file. Field numbers are their positions in the schema's tables.</summary>
internal static class ModelReader
{
    internal static LiteRtModel Read(ReadOnlyMemory<byte> file)
    {
        if (file.Length < 8 || !file.Span[4..8].SequenceEqual("TFL3"u8))
            throw new LiteRtException("This is no LiteRT model: the file identifier TFL3 is missing.");
        var flat = new FlatFile(file);
        var root = flat.Root();
        if (root.Int32(0) != 3)
            throw new LiteRtException($"The file has version {root.Int32(0)} of the format; version 3 can be read.");
        var codes = root.Tables(1);
        var buffers = Array.ConvertAll(root.Tables(4), b => b.Bytes(0) is { Length: > 0 } inside ? inside : flat.Slice((long)b.UInt64(1), b.UInt64(1) > 1 ? (long)b.UInt64(2) : 0));
        var subgraphs = Array.ConvertAll(root.Tables(2), g => Subgraph(g, codes, buffers));
        var signatures = Array.ConvertAll(root.Tables(7), s => new LiteRtSignature(s.Text(2), s.Int32(4), Named(s.Tables(0)), Named(s.Tables(1))));
        var metadata = new Dictionary<string, ReadOnlyMemory<byte>>();
        foreach (var entry in root.Tables(6))
            metadata[entry.Text(0)] = Buffer(buffers, entry.Int32(1));
        return new LiteRtModel(root.Text(3), subgraphs, signatures, metadata, file.Length);
    }

    private static LiteRtSubgraph Subgraph(FlatTable graph, FlatTable[] codes, ReadOnlyMemory<byte>[] buffers) => new(
        graph.Text(4),
        Array.ConvertAll(graph.Tables(0), t => Tensor(t, buffers)),
        Array.ConvertAll(graph.Tables(3), o => Operator(o, codes)),
        graph.Int32s(1),
        graph.Int32s(2));

    private static LiteRtTensor Tensor(FlatTable tensor, ReadOnlyMemory<byte>[] buffers) =>
        new(tensor.Text(3), (LiteRtType)tensor.Byte(1), tensor.Int32s(0), Quantization(tensor.Table(4)), Buffer(buffers, tensor.Int32(2)));

    private static LiteRtQuantization? Quantization(FlatTable? table)
    {
        if (table is not { } quantization)
            return null;
        const byte blockwise = 2;
        if (quantization.Byte(4) == blockwise && quantization.Table(5) is { } blocks)
            return new LiteRtQuantization([], [], 0, blocks.Int32(2), blocks.Int32(0));
        var scales = quantization.Singles(2);
        return scales.Length == 0 ? null : new LiteRtQuantization(scales, quantization.Int64s(3), quantization.Int32(6));
    }

    private static LiteRtOperator Operator(FlatTable op, FlatTable[] codes)
    {
        int index = op.Int32(0);
        if (index < 0 || index >= codes.Length)
            throw new LiteRtException($"The file is damaged: an op has code {index} of {codes.Length}.");
        var code = codes[index];
        // Ops below 127 may have their number in the older field alone.
        var builtin = (BuiltinOp)Math.Max(code.Byte(0), code.Int32(3));
        var name = builtin == BuiltinOp.Custom ? code.Text(1) : Enum.IsDefined(builtin) ? builtin.Spelled() : $"UNKNOWN_{(int)builtin}";
        return new LiteRtOperator(name, code.Int32(2, 1), op.Int32s(1), op.Int32s(2), Options(op, builtin));
    }

    private static Dictionary<string, double> Options(FlatTable op, BuiltinOp builtin)
    {
        Dictionary<string, double> options = [];
        if (!OptionTable.All.TryGetValue(builtin, out var layout) || op.Byte(3) != layout.Union || op.Table(4) is not { } table)
            return options;
        for (int i = 0; i < layout.Fields.Length; i++)
        {
            var field = layout.Fields[i];
            options[field.Name] = field.Kind switch
            {
                OptionKind.Byte => table.Byte(i, (byte)field.Default),
                OptionKind.Int32 => table.Int32(i, (int)field.Default),
                _ => table.Single(i, (float)field.Default),
            };
        }

        return options;
    }

    private static Dictionary<string, int> Named(FlatTable[] maps)
    {
        Dictionary<string, int> named = [];
        foreach (var map in maps)
            named[map.Text(0)] = map.Int32(1);
        return named;
    }

    private static ReadOnlyMemory<byte> Buffer(ReadOnlyMemory<byte>[] buffers, int index) => index >= 0 && index < buffers.Length
        ? buffers[index]
        : throw new LiteRtException($"The file is damaged: it names buffer {index} of {buffers.Length}.");
}
