using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Peers;

/// <summary>An ONNX model under construction. Values are known by their names.</summary>
internal sealed class OnnxGraph
{
    private const string Contributed = "com.microsoft";

    private readonly List<byte[]> _nodes = [];
    private readonly List<byte[]> _constants = [];
    private int _names;

    /// <summary>Adds an op of the standard.</summary>
    /// <returns>Its result.</returns>
    public string Add(string op, string[] inputs, params byte[][] attributes) => Add(op, "", inputs, 1, attributes)[0];

    /// <summary>Adds an op of ONNX Runtime's own.</summary>
    /// <returns>Its result.</returns>
    public string AddContributed(string op, params string[] inputs) => Add(op, Contributed, inputs, 1, [])[0];

    /// <summary>Adds an op with several results.</summary>
    /// <returns>Its results.</returns>
    public string[] Add(string op, string domain, string[] inputs, int outputs, byte[][] attributes)
    {
        string[] results = [.. Enumerable.Range(0, outputs).Select(_ => NewName())];
        _nodes.Add(OnnxWriter.Node(op, domain, inputs, results, attributes));
        return results;
    }

    /// <summary>A constant of the tensor's dtype and shape: float32, int8, uint8, int32 or int64.</summary>
    public string Constant(Tensor value)
    {
        using var scope = NewDisposeScope();
        var dense = value.detach().contiguous();
        var type = dense.dtype switch
        {
            ScalarType.Float32 => OnnxWriter.Float,
            ScalarType.Byte => OnnxWriter.UInt8,
            ScalarType.Int8 => OnnxWriter.Int8,
            ScalarType.Int32 => OnnxWriter.Int32,
            _ => OnnxWriter.Int64,
        };
        return Constant(type, value.shape, dense.bytes);
    }

    /// <summary>A constant list of int64.</summary>
    public string Constant(params long[] values) => Constant(OnnxWriter.Int64, [values.Length], MemoryMarshal.AsBytes(values.AsSpan()));

    /// <summary>A constant number.</summary>
    public string Constant(float value) => Constant(OnnxWriter.Float, [], MemoryMarshal.AsBytes(new ReadOnlySpan<float>(in value)));

    /// <summary>A constant byte.</summary>
    public string Constant(byte value) => Constant(OnnxWriter.UInt8, [], [value]);

    /// <summary>The model.</summary>
    /// <param name="inputs">Descriptions of its inputs.</param>
    /// <param name="result">The value that it gives, float32, under the name <c>result</c>.</param>
    /// <param name="shape">That value's shape.</param>
    public byte[] Model(byte[][] inputs, string result, params long[] shape)
    {
        _nodes.Add(OnnxWriter.Node("Identity", "", [result], ["result"], []));
        return OnnxWriter.Model(_nodes, _constants, inputs, OnnxWriter.Value("result", OnnxWriter.Float, shape));
    }

    private string Constant(int type, long[] shape, ReadOnlySpan<byte> data)
    {
        var name = NewName();
        _constants.Add(OnnxWriter.Tensor(name, type, shape, data));
        return name;
    }

    private string NewName() => $"v{_names++}";
}
