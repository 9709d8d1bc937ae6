namespace QwixSharp.LiteRT;

/// <summary>How the integers of a tensor stand for real numbers: <c>real = scale · (code − zero point)</c>.</summary>
/// <param name="Scales">One scale, or one for each index of <paramref name="Dimension"/>. Empty where <paramref name="BlockSize"/> is not 0.</param>
/// <param name="ZeroPoints">As many zero points, or one, or none where all are 0.</param>
/// <param name="Dimension">The axis that the scales belong to.</param>
/// <param name="BlockSize">For blockwise scales, which are a tensor of their own: elements of the last axis that share one; else 0.</param>
/// <param name="ScaleTensor">For blockwise scales: the index of that tensor; else −1.</param>
public sealed record LiteRtQuantization(IReadOnlyList<float> Scales, IReadOnlyList<long> ZeroPoints, int Dimension = 0, int BlockSize = 0, int ScaleTensor = -1)
{
    /// <summary>The parameters in a few words: <c>scale 0.02, zero point 4</c>.</summary>
    /// <returns>A short text.</returns>
    public override string ToString() =>
        BlockSize > 0 ? $"blocks of {BlockSize}, scales in tensor {ScaleTensor}"
        : Scales.Count == 1 ? $"scale {Scales[0]:G6}, zero point {(ZeroPoints.Count > 0 ? ZeroPoints[0] : 0)}"
        : $"{Scales.Count} scales {Scales.Min():G4}…{Scales.Max():G4} along axis {Dimension}{(ZeroPoints.Any(z => z != 0) ? ", with zero points" : "")}";
}

/// <summary>A tensor of a LiteRT model.</summary>
/// <param name="Name">Its name; it need not be unique.</param>
/// <param name="Type">The type of its elements.</param>
/// <param name="Shape">Its shape; images are batch, height, width, channels.</param>
/// <param name="Quantization">How its integers stand for real numbers; null for other tensors.</param>
/// <param name="Data">The bytes of a constant, little-endian and row-major; empty for a tensor that is computed or given.</param>
public sealed record LiteRtTensor(string Name, LiteRtType Type, IReadOnlyList<int> Shape, LiteRtQuantization? Quantization, ReadOnlyMemory<byte> Data)
{
    /// <summary>Whether the file holds the tensor's values.</summary>
    public bool IsConstant => Data.Length > 0;

    /// <summary>Type, shape, name and quantization in one line.</summary>
    /// <returns>A line.</returns>
    public override string ToString() =>
        $"{Type.ToString().ToLowerInvariant()}[{string.Join(',', Shape)}] \"{Name}\"{(IsConstant ? $" = {Data.Length} bytes" : "")}{(Quantization is null ? "" : $" ({Quantization})")}";
}

/// <summary>An op of a LiteRT model.</summary>
/// <param name="Name">The op, as LiteRT spells it: <c>CONV_2D</c>; for a custom op its own name.</param>
/// <param name="Version">The version of the op that the runtime must know.</param>
/// <param name="Inputs">Indices of tensors; −1 where an optional one is missing.</param>
/// <param name="Outputs">Indices of tensors.</param>
/// <param name="Options">Numeric options by their names in the schema, defaults included; empty for ops whose options this library does not know.</param>
public sealed record LiteRtOperator(string Name, int Version, IReadOnlyList<int> Inputs, IReadOnlyList<int> Outputs, IReadOnlyDictionary<string, double> Options);

/// <summary>A graph of a LiteRT model.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Tensors">All its tensors.</param>
/// <param name="Operators">Its ops, in the order in which they run.</param>
/// <param name="Inputs">Indices of the tensors that are given.</param>
/// <param name="Outputs">Indices of the tensors that are its results.</param>
public sealed record LiteRtSubgraph(string Name, IReadOnlyList<LiteRtTensor> Tensors, IReadOnlyList<LiteRtOperator> Operators, IReadOnlyList<int> Inputs, IReadOnlyList<int> Outputs);

/// <summary>A named way to call a model.</summary>
/// <param name="Key">Its name.</param>
/// <param name="Subgraph">The index of the graph that it runs.</param>
/// <param name="Inputs">Indices of the graph's input tensors by name.</param>
/// <param name="Outputs">Indices of the graph's output tensors by name.</param>
public sealed record LiteRtSignature(string Key, int Subgraph, IReadOnlyDictionary<string, int> Inputs, IReadOnlyDictionary<string, int> Outputs);
