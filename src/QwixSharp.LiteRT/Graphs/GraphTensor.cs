using QwixSharp.LiteRT.FlatBuffers;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Graphs;

/// <summary>A tensor of the graph that becomes a file.</summary>
internal sealed class GraphTensor(LiteRtType type, int[] shape, string name = "")
{
    internal string Name { get; set; } = name;

    internal LiteRtType Type { get; set; } = type;

    internal int[] Shape { get; } = shape;

    /// <summary>The values of a constant, possibly a view with other strides; null for an activation.</summary>
    internal Tensor? Constant { get; init; }

    /// <summary>Whether the constant's values are nobody else's, so that they can be freed as soon as they are written.</summary>
    internal bool OwnsConstant { get; init; }

    /// <summary>The integers that it has on the device: of a fake-quantized constant, or of the result of a fake-quant.</summary>
    internal FakeQuant? FakeQuant { get; set; }

    internal LiteRtQuantization? Quantization { get; set; }

    internal bool IsConstant => Constant is not null;

    internal int Rank => Shape.Length;

    internal long Elements => Shape.Aggregate(1L, (product, size) => product * size);
}

/// <summary>An op of the graph that becomes a file.</summary>
internal sealed class GraphOp(BuiltinOp op, string place)
{
    internal BuiltinOp Op { get; set; } = op;

    /// <summary>The TorchSharp op that it comes from, and the module path, for messages.</summary>
    internal string Place { get; } = place;

    internal List<GraphTensor?> Inputs { get; init; } = [];

    internal List<GraphTensor> Outputs { get; init; } = [];

    internal Dictionary<string, double> Options { get; init; } = [];

    /// <summary>Whether a product with integer weights takes floating-point activations, and finds their range at run time.</summary>
    internal bool IsHybrid { get; set; }

    /// <summary>Whether the op's result is scaled up by the next, and its rounding to codes with it: then both compute in floating point.</summary>
    internal bool KeepsFractions { get; set; }

    internal GraphTensor Output => Outputs[0];

    internal double Option(string name) => Options.GetValueOrDefault(name);
}

/// <summary>A graph that becomes a file.</summary>
internal sealed class Graph
{
    internal List<GraphOp> Ops { get; } = [];

    internal List<(string Name, GraphTensor Tensor)> Inputs { get; } = [];

    internal List<(string Name, GraphTensor Tensor)> Outputs { get; } = [];
}
