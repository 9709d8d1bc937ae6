using Xunit.Sdk;

namespace QwixSharp.LiteRT.Tests.Runtime;

/// <summary>How close a runtime's outputs have to be.</summary>
/// <param name="Codes">The largest difference of codes.</param>
/// <param name="Equal">The share of codes that is to be equal.</param>
/// <param name="Clipped">Whether outputs at the ends of the range count.</param>
internal sealed record Bar(double Codes = 1, double Equal = 0.99, bool Clipped = true);

/// <summary>
/// What the older runtime of <c>@tensorflow/tfjs-tflite</c>, a TensorFlow Lite of 2023, gives for our files: the same, but for what the two tables say. A file
/// with something that it lacks has to fail, so that a line which is no longer true fails as well.
/// </summary>
internal static class SecondOpinion
{
    private static readonly Lack[] Lacks =
    [
        new("Its JavaScript has no access to int64.", s => s.IsEnd(LiteRtType.Int64), "no access to"),
        new("It has no int4.", s => s.Inputs.Contains(LiteRtType.Int4), "Unsupported data type 17", "'CONV_2D' version '7'", "'FULLY_CONNECTED' version '10'"),
        new("It has no int32 sums in convolutions of int16.", s => s.Is("CONV_2D", LiteRtType.Int16), "'CONV_2D' version '8'"),
        new("It has no int32 sums in convolutions of int16.", s => s.Op.Name == "TRANSPOSE_CONV" && s.Output == LiteRtType.Int16, "'TRANSPOSE_CONV' version '5'"),
        new("It moves no more than five axes.", s => s.Op.Name is "TRANSPOSE" or "SLICE" && s.Rank > 5, "only supports 1D-5D"),
        new("Its LOG is in floating point.", s => s.Is("LOG", LiteRtType.Int8), "unsupported by op Log"),
        new("Its EXP is in floating point, or int16.", s => s.Is("EXP", LiteRtType.Int8), "not supported by Exp"),
        new("Its GELU has no int16.", s => s.Is("GELU", LiteRtType.Int16), "(GELU) failed", "unsupported datatype (INT16)"),
        new("Its TILE has no int16.", s => s.Is("TILE", LiteRtType.Int16), "is not supported by tile"),
        new("Its MIRROR_PAD has no int16.", s => s.Is("MIRROR_PAD", LiteRtType.Int16), "(MIRROR_PAD) failed"),
        new("Its XNNPACK wants a reader for each part.", s => s.Op.Name == "SPLIT" && s.Output is LiteRtType.Int8 or LiteRtType.Float32 && s.HasUnreadOutput, "failed to invoke XNNPACK runtime"),
        new("It counts the 6 of ReLU6 in steps of the output, which 32 bits have to hold.", s => s.Op.Options.GetValueOrDefault("fused_activation_function") == 3 && 6 / s.Scale > int.MaxValue, "no_integer_overflow_from_quantization"),
        new("SUM of int8 wraps around where it should be cut off, and what comes after it takes that.", s => s.Is("SUM", LiteRtType.Int8) && !s.IsLast),
        new("Linear layers of dynamic range have the first channel's scale for all.", s => s.Is("FULLY_CONNECTED", LiteRtType.Float32) && s.Inputs[1] == LiteRtType.Int8 && s.WeightScales > 1),
    ];

    /// <summary>Ops that it rounds in another way. The shares of equal codes are the least that were measured.</summary>
    private static readonly (string Reason, Func<Site, bool> Applies, Bar Bar)[] Roundings =
    [
        ("Linear layers of int16 have factors of 15 bits (82.3%).", s => s.Is("FULLY_CONNECTED", LiteRtType.Int16), new(Equal: 0.82)),
        ("That spreads through attention and layer norms (77.9%, up to 4 codes).", s => s.Is("SOFTMAX", LiteRtType.Int16) && s.IsBeside("FULLY_CONNECTED"), new(Codes: 4, Equal: 0.77)),
        ("MEAN of int16 divides after it has scaled (97.2%).", s => s.Is("MEAN", LiteRtType.Int16), new(Equal: 0.97)),
        ("The last bits of RESIZE_BILINEAR decide at 65,536 codes (97.3%).", s => s.Op.Name == "RESIZE_BILINEAR" && s.IsBeside("QUANTIZE", LiteRtType.Int16), new(Equal: 0.97)),
        ("SOFTMAX of int8 is in fixed point, and the product after it makes more of that (98.2%, up to 2 codes).", s => s.Is("SOFTMAX", LiteRtType.Int8) && s.IsBeside("BATCH_MATMUL"), new(Codes: 2, Equal: 0.98)),
        ("SUM of int8 wraps around at the ends of the range.", s => s.Is("SUM", LiteRtType.Int8) && s.IsLast, new(Clipped: false)),
    ];

    /// <summary>Checks the answer of the older runtime.</summary>
    /// <param name="file">The file that was run.</param>
    /// <param name="older">The answer.</param>
    /// <param name="compare">Compares outputs with those expected.</param>
    public static void Check(LiteRtModel file, EngineAnswer older, Action<RunOutput[][], Bar> compare)
    {
        var graph = file.Subgraphs[0];
        Site[] sites = [.. graph.Operators.Select(op => new Site(graph, op))];
        Lack[] lacks = [.. Lacks.Where(l => sites.Any(l.Applies))];
        var bars = Roundings.Where(r => sites.Any(r.Applies)).Select(r => r.Bar).Append(new Bar()).ToList();
        var bar = new Bar(bars.Max(b => b.Codes), bars.Min(b => b.Equal), bars.All(b => b.Clipped));
        if (older.Error is { } error)
            Assert.True(lacks.Any(l => l.Messages.Any(error.Contains)), $"The older runtime: {error}\n{file}");
        else if (lacks.Length == 0)
            compare(older.Batches, bar);
        else if (lacks.All(l => l.Messages.Length == 0))
            Assert.ThrowsAny<XunitException>(() => compare(older.Batches, bar));
        else
            Assert.Fail($"The older runtime runs the file. Is it not true any more? {string.Join(' ', lacks.Select(l => l.Reason))}\n{file}");
    }

    /// <summary>What the runtime lacks.</summary>
    /// <param name="Reason">Why a file fails that has it.</param>
    /// <param name="Applies">Whether an op has it.</param>
    /// <param name="Messages">What the runtime may say; nothing where it computes something else.</param>
    private sealed record Lack(string Reason, Func<Site, bool> Applies, params string[] Messages);

    /// <summary>An op in its graph.</summary>
    private sealed record Site(LiteRtSubgraph Graph, LiteRtOperator Op)
    {
        public LiteRtType[] Inputs { get; } = [.. Op.Inputs.Where(i => i >= 0).Select(i => Graph.Tensors[i].Type)];

        public LiteRtType Output => Graph.Tensors[Op.Outputs[0]].Type;

        public int Rank => Graph.Tensors[Op.Inputs[0]].Shape.Count;

        public double Scale => Graph.Tensors[Op.Outputs[0]].Quantization?.Scales[0] ?? 1;

        public int WeightScales => Graph.Tensors[Op.Inputs[1]].Quantization?.Scales.Count ?? 0;

        public bool HasUnreadOutput => Op.Outputs.Any(o => !Graph.Outputs.Contains(o) && !Graph.Operators.Any(reader => reader.Inputs.Contains(o)));

        public bool IsLast => Graph.Outputs.Contains(Op.Outputs[0]);

        public bool Is(string name, LiteRtType input) => Op.Name == name && Inputs[0] == input;

        public bool IsEnd(LiteRtType type) => Graph.Inputs.Concat(Graph.Outputs).Any(t => Graph.Tensors[t].Type == type);

        /// <summary>Whether such an op is in the same graph.</summary>
        public bool IsBeside(string name, LiteRtType? output = null) => Graph.Operators.Any(o => o.Name == name && (output ?? Graph.Tensors[o.Outputs[0]].Type) == Graph.Tensors[o.Outputs[0]].Type);
    }
}
