using Google.FlatBuffers;
using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;

namespace QwixSharp.LiteRT;

/// <summary>Writes a graph as the bytes of a file. Field numbers are their positions in the schema's tables.</summary>
internal sealed class ModelWriter
{
    /// <summary>The most bytes of a file.</summary>
    internal const long Limit = int.MaxValue;

    private readonly Graph _graph;
    private readonly FlatBufferBuilder _builder;
    private readonly BufferWriter _buffers;
    private readonly Dictionary<GraphTensor, int> _indices = [];

    private ModelWriter(Graph graph, long size)
    {
        _graph = graph;
        _builder = new FlatBufferBuilder(checked((int)size));
        _buffers = new BufferWriter(_builder);
    }

    /// <summary>A table of the schema: offsets need a type.</summary>
    private struct Table;

    /// <summary>The bytes of the file.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="signature">The name of its signature.</param>
    /// <param name="description">What the file says about itself.</param>
    /// <param name="metadata">Named data beside the model.</param>
    /// <exception cref="LiteRtException">The file would be larger than 2 GB.</exception>
    internal static ArraySegment<byte> Write(Graph graph, string signature, string description, IReadOnlyDictionary<string, byte[]> metadata)
    {
        var constants = graph.Ops.SelectMany(o => o.Inputs).OfType<GraphTensor>().Where(t => t.IsConstant).Distinct().ToList();
        long weights = constants.Sum(t => ((t.Elements * t.Type.Bits()) + 7) / 8);
        // A scale and a zero point take 12 bytes, all else some hundred bytes a tensor and op; the estimate spares copies while the file grows.
        long size = weights + constants.Sum(t => 12L * (t.Quantization?.Scales.Count ?? 0)) + (1024L * (graph.Ops.Count + 16));
        if (size > Limit)
            throw new LiteRtException($"The file would take {weights / 1e9:F1} GB, and the format allows 2 GB. Quantize the weights, or split the model.");
        var writer = new ModelWriter(graph, size);
        writer.WriteModel(signature, description, metadata);
        return writer._builder.DataBuffer.ToArraySegment(writer._builder.DataBuffer.Position, writer._builder.DataBuffer.Length - writer._builder.DataBuffer.Position);
    }

    private void WriteModel(string signatureKey, string description, IReadOnlyDictionary<string, byte[]> metadata)
    {
        var tensors = Tensors();
        var codes = new Dictionary<(BuiltinOp, int), int>();
        var operators = _graph.Ops.Select(o => Operator(o, codes)).ToList();
        var subgraph = Subgraph(tensors, operators);
        var signature = Signature(signatureKey);
        var entries = metadata.Select(m => Metadata(m.Key, m.Value)).ToList();
        var codeTables = codes.OrderBy(c => c.Value).Select(c => Code(c.Key.Item1, c.Key.Item2)).ToList();
        var (codeVector, graphVector, text, bufferVector) = (Vector(codeTables), Vector([subgraph]), _builder.CreateString(description), Vector([.. _buffers.Buffers.Select(Buffer)]));
        var (entryVector, signatureVector) = (Vector(entries), Vector([signature]));
        _builder.StartTable(8);
        _builder.AddUint(0, 3, 0);
        _builder.AddOffset(1, codeVector.Value, 0);
        _builder.AddOffset(2, graphVector.Value, 0);
        _builder.AddOffset(3, text.Value, 0);
        _builder.AddOffset(4, bufferVector.Value, 0);
        _builder.AddOffset(6, entryVector.Value, 0);
        _builder.AddOffset(7, signatureVector.Value, 0);
        _builder.Finish(_builder.EndTable(), "TFL3");
    }

    private List<Offset<Table>> Tensors()
    {
        List<GraphTensor> all = [];
        foreach (var tensor in _graph.Inputs.Select(i => i.Tensor).Concat(_graph.Ops.SelectMany(o => o.Inputs.OfType<GraphTensor>().Concat(o.Outputs))))
        {
            if (_indices.TryAdd(tensor, all.Count))
                all.Add(tensor);
        }

        return [.. all.Select(Tensor)];
    }

    private Offset<Table> Tensor(GraphTensor tensor)
    {
        int buffer = tensor.IsConstant ? _buffers.Add(tensor) : 0;
        var shape = Ints(tensor.Shape);
        var name = _builder.CreateSharedString(tensor.Name);
        var quantization = tensor.Quantization is { } q ? Quantization(q) : default;
        _builder.StartTable(8);
        _builder.AddOffset(0, shape.Value, 0);
        _builder.AddSbyte(1, (sbyte)tensor.Type, 0);
        _builder.AddUint(2, (uint)buffer, 0);
        _builder.AddOffset(3, name.Value, 0);
        if (tensor.Quantization is not null)
            _builder.AddOffset(4, quantization.Value, 0);
        return End();
    }

    private Offset<Table> Quantization(LiteRtQuantization quantization)
    {
        _builder.StartVector(4, quantization.Scales.Count, 4);
        foreach (float scale in quantization.Scales.Reverse())
            _builder.AddFloat(scale);
        var scales = _builder.EndVector();
        long[] points = quantization.ZeroPoints.Count > 0 ? [.. quantization.ZeroPoints] : new long[quantization.Scales.Count];
        _builder.StartVector(8, points.Length, 8);
        foreach (long point in points.Reverse())
            _builder.AddLong(point);
        var zeroPoints = _builder.EndVector();
        _builder.StartTable(7);
        _builder.AddOffset(2, scales.Value, 0);
        _builder.AddOffset(3, zeroPoints.Value, 0);
        _builder.AddInt(6, quantization.Dimension, 0);
        return End();
    }

    private Offset<Table> Operator(GraphOp op, Dictionary<(BuiltinOp, int), int> codes)
    {
        var key = (op.Op, OpVersions.Of(op));
        if (!codes.TryGetValue(key, out int code))
            codes[key] = code = codes.Count;
        int count = op.Inputs.Count;
        while (count > 0 && op.Inputs[count - 1] is null && op.Op != BuiltinOp.FullyConnected)
            count--;
        var inputs = Ints([.. op.Inputs.Take(count).Select(i => i is null ? -1 : _indices[i])]);
        var outputs = Ints([.. op.Outputs.Select(o => _indices[o])]);
        var layout = OptionTable.All.GetValueOrDefault(op.Op);
        var options = layout is null ? default : Options(layout, op);
        _builder.StartTable(5);
        _builder.AddUint(0, (uint)code, 0);
        _builder.AddOffset(1, inputs.Value, 0);
        _builder.AddOffset(2, outputs.Value, 0);
        if (layout is not null)
        {
            _builder.AddByte(3, layout.Union, 0);
            _builder.AddOffset(4, options.Value, 0);
        }

        return End();
    }

    private Offset<Table> Options(OptionTable layout, GraphOp op)
    {
        _builder.StartTable(layout.Fields.Length);
        for (int i = 0; i < layout.Fields.Length; i++)
        {
            var field = layout.Fields[i];
            if (!op.Options.TryGetValue(field.Name, out double value))
                continue;
            switch (field.Kind)
            {
                case OptionKind.Byte:
                    _builder.AddByte(i, (byte)value, (byte)field.Default);
                    break;
                case OptionKind.Int32:
                    _builder.AddInt(i, (int)value, (int)field.Default);
                    break;
                default:
                    _builder.AddFloat(i, (float)value, field.Default);
                    break;
            }
        }

        return End();
    }

    private Offset<Table> Subgraph(List<Offset<Table>> tensors, List<Offset<Table>> operators)
    {
        var (tensorVector, operatorVector, name) = (Vector(tensors), Vector(operators), _builder.CreateString("main"));
        var (inputs, outputs) = (Ints([.. _graph.Inputs.Select(i => _indices[i.Tensor])]), Ints([.. _graph.Outputs.Select(o => _indices[o.Tensor])]));
        _builder.StartTable(5);
        _builder.AddOffset(0, tensorVector.Value, 0);
        _builder.AddOffset(1, inputs.Value, 0);
        _builder.AddOffset(2, outputs.Value, 0);
        _builder.AddOffset(3, operatorVector.Value, 0);
        _builder.AddOffset(4, name.Value, 0);
        return End();
    }

    private Offset<Table> Signature(string key)
    {
        var inputs = Vector([.. _graph.Inputs.Select(i => Named(i.Name, i.Tensor))]);
        var outputs = Vector([.. _graph.Outputs.Select(o => Named(o.Name, o.Tensor))]);
        var name = _builder.CreateString(key);
        _builder.StartTable(5);
        _builder.AddOffset(0, inputs.Value, 0);
        _builder.AddOffset(1, outputs.Value, 0);
        _builder.AddOffset(2, name.Value, 0);
        return End();
    }

    private Offset<Table> Named(string name, GraphTensor tensor)
    {
        var text = _builder.CreateSharedString(name);
        _builder.StartTable(2);
        _builder.AddOffset(0, text.Value, 0);
        _builder.AddUint(1, (uint)_indices[tensor], 0);
        return End();
    }

    private Offset<Table> Metadata(string name, byte[] bytes)
    {
        int buffer = _buffers.Add(bytes);
        var text = _builder.CreateString(name);
        _builder.StartTable(2);
        _builder.AddOffset(0, text.Value, 0);
        _builder.AddUint(1, (uint)buffer, 0);
        return End();
    }

    private Offset<Table> Code(BuiltinOp op, int version)
    {
        _builder.StartTable(4);
        // Old runtimes read the first field, whose numbers end at 127.
        _builder.AddSbyte(0, (sbyte)Math.Min((int)op, 127), 0);
        _builder.AddInt(2, version, 1);
        _builder.AddInt(3, (int)op, 0);
        return End();
    }

    private Offset<Table> Buffer(VectorOffset? data)
    {
        _builder.StartTable(1);
        if (data is { } bytes)
            _builder.AddOffset(0, bytes.Value, 0);
        return End();
    }

    private Offset<Table> End() => new(_builder.EndTable());

    private VectorOffset Ints(int[] values)
    {
        _builder.StartVector(4, values.Length, 4);
        for (int i = values.Length - 1; i >= 0; i--)
            _builder.AddInt(values[i]);
        return _builder.EndVector();
    }

    private VectorOffset Vector(IReadOnlyList<Offset<Table>> tables)
    {
        _builder.StartVector(4, tables.Count, 4);
        for (int i = tables.Count - 1; i >= 0; i--)
            _builder.AddOffset(tables[i].Value);
        return _builder.EndVector();
    }
}
