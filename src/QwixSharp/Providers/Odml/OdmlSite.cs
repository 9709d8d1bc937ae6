using QwixSharp.Rules;

namespace QwixSharp.Providers.Odml;

/// <summary>Where an op is in a model, and the rule that it falls under.</summary>
/// <param name="Rule">The first rule that matches; null where none does.</param>
/// <param name="ModulePath">The dotted path of the module that calls the op.</param>
/// <param name="OpName">The op's name.</param>
/// <param name="OpId">The name and its number in the module, such as <c>add0</c>.</param>
/// <param name="IsTraining">Whether the module is in training mode.</param>
internal sealed record OdmlSite(QuantizationRule? Rule, string ModulePath, string OpName, string OpId, bool IsTraining)
{
    /// <summary>Whether the rule quantizes the op's activations.</summary>
    internal bool QuantizesActivations => Rule?.ActQType is not null;

    /// <summary>The place of an operand's statistics.</summary>
    internal string Place(string operand) => Models.QuantizedState.Join(ModulePath, operand.Length == 0 ? OpId : $"{OpId}_{operand}");

    public override string ToString() => $"{OpId} in module \"{ModulePath}\"";
}
