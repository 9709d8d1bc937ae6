using QwixSharp.LiteRT.FlatBuffers;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Graphs;

/// <summary>A tensor of the graph that becomes a file.</summary>
internal sealed class GraphTensor(LiteRtType type, int[] shape, string name = "")
{
    internal string Name { get; set; } = name;

    internal LiteRtType Type { get; set; } = type;

    internal int[] Shape { get; } = shape;

    /// <summary>
    /// The values of a constant, possibly a view with other strides; null for an activation. With a <see cref="Factor"/> each reading makes
    /// a new tensor, which is the reader's to free.
    /// </summary>
    internal Tensor? Constant
    {
        get => Factor is null ? Stored : Stored! * Factor;
        init => Stored = value;
    }

    /// <summary>The values of a constant before they are multiplied with <see cref="Factor"/>.</summary>
    internal Tensor? Stored { get; private init; }

    /// <summary>
    /// What a weight is multiplied with, a number for each output channel; null for nothing. The product is made where the weight is written,
    /// so that weights are not in memory twice.
    /// </summary>
    internal Tensor? Factor { get; init; }

    /// <summary>The integers that it has on the device: of a fake-quantized constant, or of the result of a fake-quant.</summary>
    internal FakeQuant? FakeQuant { get; set; }

    internal LiteRtQuantization? Quantization { get; set; }

    internal bool IsConstant => Stored is not null;

    internal int Rank => Shape.Length;

    /// <summary>Some rows of a constant, in the same memory.</summary>
    internal GraphTensor Rows(long start, long count) => new(Type, [checked((int)count), .. Shape[1..]], Name)
    {
        Constant = Stored!.narrow(0, start, count),
        Factor = Factor is { } factor && factor.shape[0] > 1 ? factor.narrow(0, start, count) : Factor,
        FakeQuant = FakeQuant,
    };

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
