using System.Runtime.InteropServices;
using Onnx;
using static TorchSharp.torch;

namespace QwixSharp.Samples.Common;

/// <summary>The weights of an ONNX file, and as much of its graph as is needed to tell which weight is whose.</summary>
public sealed class OnnxWeights
{
    private readonly GraphProto _graph;
    private readonly Dictionary<string, TensorProto> _initializers;

    private OnnxWeights(GraphProto graph)
    {
        _graph = graph;
        _initializers = graph.Initializer.ToDictionary(t => t.Name);
    }

    /// <summary>The operations of the graph, in the order in which they run.</summary>
    public IReadOnlyList<NodeProto> Nodes => _graph.Node;

    /// <summary>The names of all stored weights.</summary>
    public IReadOnlyCollection<string> Names => _initializers.Keys;

    /// <summary>Reads an ONNX model.</summary>
    /// <param name="stream">The model, read from the stream's position to its end.</param>
    /// <exception cref="Google.Protobuf.InvalidProtocolBufferException">The stream holds no ONNX model.</exception>
    public static OnnxWeights Read(Stream stream) => new(ModelProto.Parser.ParseFrom(stream).Graph);

    /// <summary>Reads an ONNX model from a file.</summary>
    /// <inheritdoc cref="Read(Stream)" path="/exception"/>
    public static OnnxWeights Read(string path)
    {
        using var file = File.OpenRead(path);
        return Read(file);
    }

    /// <summary>Copies a weight, float32, in the shape that the file gives it.</summary>
    /// <exception cref="KeyNotFoundException">The file has no weight of that name.</exception>
    /// <exception cref="NotSupportedException">The weight is not float32.</exception>
    public Tensor Weight(string name)
    {
        if (!_initializers.TryGetValue(name, out var proto))
            throw new KeyNotFoundException($"The ONNX file has no weight '{name}'.");
        if (proto.DataType != (int)TensorProto.Types.DataType.Float)
            throw new NotSupportedException($"Weight '{name}' has the ONNX element type {(TensorProto.Types.DataType)proto.DataType}; only float32 is read.");

        var values = proto.RawData.Length > 0 ? MemoryMarshal.Cast<byte, float>(proto.RawData.Span).ToArray() : [.. proto.FloatData];
        return tensor(values, [.. proto.Dims]);
    }

    /// <summary>
    /// The weight, <c>[out, in]</c>, of the linear layer that has the named bias. Exporters keep the name of a linear layer's
    /// bias, but store its weight transposed, <c>[in, out]</c>, under a number; the two meet where the graph adds the bias
    /// to the product.
    /// </summary>
    /// <exception cref="InvalidDataException">The graph does not add that bias to a product with a stored weight.</exception>
    public Tensor LinearWeight(string biasName)
    {
        var add = Nodes.FirstOrDefault(n => n.OpType == "Add" && n.Input.Contains(biasName));
        var product = add is null ? null : Nodes.FirstOrDefault(n => n.OpType == "MatMul" && add.Input.Contains(n.Output[0]));
        if (product is null || !_initializers.ContainsKey(product.Input[1]))
            throw new InvalidDataException($"The ONNX graph does not add '{biasName}' to a product with a stored weight.");

        using var transposed = Weight(product.Input[1]);
        return transposed.t().contiguous();
    }

    /// <summary>The first operation of a kind that takes the given value as an input.</summary>
    /// <exception cref="InvalidDataException">No such operation takes it.</exception>
    public NodeProto ConsumerOf(string value, string opType) =>
        Nodes.FirstOrDefault(n => n.OpType == opType && n.Input.Contains(value))
        ?? throw new InvalidDataException($"The ONNX graph has no {opType} that takes '{value}'.");
}
