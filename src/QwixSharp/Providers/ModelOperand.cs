using QwixSharp.Providers.Models;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>An operand of an op as a model passes it: an activation, or a weight.</summary>
public readonly struct ModelOperand
{
    internal ModelOperand(Tensor value, WeightUse? weight)
    {
        Value = value;
        Weight = weight;
    }

    /// <summary>The tensor. The values of a weight that was given up are not there (NaN); its shape and dtype are.</summary>
    public Tensor Value { get; }

    /// <summary>Whether the operand is a parameter of the model, or a view of one.</summary>
    public bool IsWeight => Weight is not null;

    /// <summary>The dotted path of the parameter; null for an activation.</summary>
    public string? WeightName => Weight?.Name;

    internal WeightUse? Weight { get; }
}
