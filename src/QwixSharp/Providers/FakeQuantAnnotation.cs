using QwixSharp.Numerics;

namespace QwixSharp.Providers;

/// <summary>One fake-quant of a model: the place of a tensor, and the numbers that the device will have for it.</summary>
public sealed record FakeQuantAnnotation
{
    /// <summary>The dotted path of the module whose forward pass has the tensor.</summary>
    public required string ModulePath { get; init; }

    /// <summary>The op that takes the tensor, such as <c>add</c>; <c>final_output</c> for a result of the model.</summary>
    public required string OpName { get; init; }

    /// <summary>The op's name and its number among the ops of that name that the module has called.</summary>
    public required string OpId { get; init; }

    /// <summary>Which input of the op: <c>lhs</c>, <c>rhs</c>, <c>input0</c>, or empty where the op has one.</summary>
    public required string Operand { get; init; }

    /// <summary>The dotted path of the parameter; null for an activation.</summary>
    public string? WeightName { get; init; }

    /// <summary>The shape of the tensor.</summary>
    public required IReadOnlyList<long> Shape { get; init; }

    /// <summary>The type of the codes: int4, int8 or int16.</summary>
    public required QType QType { get; init; }

    /// <summary>The scales, one or one a channel; empty where the range is found at run time (dynamic-range quantization).</summary>
    public required IReadOnlyList<float> Scale { get; init; }

    /// <summary>The zero points, one a scale; null where the range is symmetric or dynamic.</summary>
    public IReadOnlyList<long>? ZeroPoint { get; init; }

    /// <summary>The axis of the channels; null where one scale serves the whole tensor.</summary>
    public int? QuantizationDimension { get; init; }

    /// <summary>
    /// Whether the lowest code is left out, so that int8 goes from −127 to 127, as LiteRT demands of weights. The values of
    /// the fake-quant itself may still have the lowest code, by rounding of exactly −127.5.
    /// </summary>
    public bool NarrowRange => WeightName is not null;

    /// <summary>The place of the tensor's statistics, such as <c>layers.0.proj.dot_general0_lhs</c>.</summary>
    public string Place => Models.QuantizedState.Join(ModulePath, Operand.Length == 0 ? OpId : $"{OpId}_{Operand}");
}
