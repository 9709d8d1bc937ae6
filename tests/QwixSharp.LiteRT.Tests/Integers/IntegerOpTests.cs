using QwixSharp.LiteRT.Tests.Export;
using QwixSharp.LiteRT.Tests.Runtime;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Integers;

/// <summary>Ops on integers, each alone: within one code of the conversion model, and 99% equal.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class IntegerOpTests(LiteRtRuntime runtime)
{
    /// <summary>What on-device training has no kind for, and refuses.</summary>
    private static readonly HashSet<string> Refused = ["local response norm", "lstm"];

    public static TheoryData<string> All => [.. OpCases.All.Where(c => c.Value().Model is nn.Module<Tensor, Tensor> && !Refused.Contains(c.Key)).Select(c => c.Key)];

    [Theory]
    [MemberData(nameof(All))]
    public void Int8ActivationsAgree(string name) => Check(name, OnDevice.Static());

    [Theory]
    [MemberData(nameof(All))]
    public void Int16ActivationsAgree(string name) => Check(name, OnDevice.Static(activations: "int16"));

    [Theory]
    [InlineData("linear")]
    [InlineData("linear of three axes")]
    [InlineData("conv2d")]
    [InlineData("conv2d depthwise")]
    public void Int4WeightsAgree(string name) => Check(name, OnDevice.Static("int4"));

    [Theory]
    [InlineData("linear", "int8")]
    [InlineData("linear", "int4")]
    [InlineData("linear of three axes", "int8")]
    [InlineData("linear and relu", "int8")]
    [InlineData("linear after images", "int8")]
    [InlineData("conv2d", "int8")]
    [InlineData("conv2d same", "int8")]
    [InlineData("conv2d stride padded", "int8")]
    [InlineData("conv2d grouped", "int8")]
    [InlineData("conv2d depthwise", "int8")]
    [InlineData("conv1d", "int8")]
    [InlineData("conv_transpose2d", "int8")]
    [InlineData("layer norm and linear", "int8")]
    [InlineData("multihead attention", "int8")]
    public void DynamicRangesAgree(string name, string weights) => Check(name, [new() { WeightQType = weights, ActQType = "int8", ActStaticScale = false }]);

    private void Check(string name, Rules.QuantizationRule[] rules)
    {
        using var scope = NewDisposeScope();
        manual_seed(11);
        var (model, inputs) = OpCases.All[name]();
        OnDevice.Check(runtime, (nn.Module<Tensor, Tensor>)model, Varied(inputs[0]), rules);
    }

    /// <summary>
    /// An input, and others with its values in other places and smaller: so many that a code is a small share, and no scale a simple multiple of
    /// another, which makes ties.
    /// </summary>
    private static Tensor[] Varied(Tensor input)
    {
        if (!input.is_floating_point())
            return [input];
        int batches = (int)Math.Clamp(2000 / input.NumberOfElements, 2, 40);
        return [input, .. Enumerable.Range(0, batches).Select(_ => input.flatten()[randperm(input.NumberOfElements)].view(input.shape) * (0.4 + (0.6 * rand(input.shape))))];
    }
}
