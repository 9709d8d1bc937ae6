using QwixSharp.Arrays;
using QwixSharp.Providers.Models;
using QwixSharp.Providers.Odml.Device;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>A tensor that is to be fake-quantized.</summary>
/// <param name="Tensor">The tensor.</param>
/// <param name="How">How.</param>
/// <param name="Site">The op that takes it.</param>
/// <param name="Operand">Which of the op's operands.</param>
/// <param name="HasStats">Whether its range comes from statistics.</param>
/// <param name="Weight">Which parameter it is, as it is or through views; null for an activation.</param>
internal sealed record FakeQuantRequest(Tensor Tensor, HowToQuantize How, OdmlSite Site, string Operand, bool HasStats, WeightUse? Weight)
{
    /// <summary>What is known of the tensor; null for a weight or a constant.</summary>
    internal TensorTag? Tag { get; init; }

    /// <summary>The product that the tensor's range is found for when it runs; null where the range is fixed.</summary>
    internal DynamicProduct? Dynamic { get; init; }

    /// <summary>The place of its statistics.</summary>
    internal string Place => Site.Place(Operand);
}
