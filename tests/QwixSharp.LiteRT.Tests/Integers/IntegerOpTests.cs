using QwixSharp.LiteRT.Tests.Export;
using QwixSharp.LiteRT.Tests.Runtime;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Integers;

/// <summary>Ops on integers, each alone.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class IntegerOpTests(LiteRtRuntime runtime)
{
    /// <summary>What on-device training has no kind for, and refuses.</summary>
    private static readonly HashSet<string> Refused =
        ["local response norm", "log2 log10", "softplus mish logsigmoid", "glu", "var std", "norm", "normalize", "logsumexp", "lstm"];

    /// <summary>
    /// Where a code that is off by one, from a tie in an op before, counts for more: a step is scaled up, or a result is read from a
    /// rounded value.
    /// </summary>
    private static readonly HashSet<string> Amplified = ["hardsigmoid", "hardtanh", "max and min", "cast", "expand", "expanded output", "constant mask", "multihead attention"];

    private static readonly string[] Sixteen =
    [
        "conv2d", "conv2d depthwise", "conv_transpose2d", "batch norm and relu after conv", "max pool", "average pool", "pad", "interpolate bilinear", "relu", "leaky relu", "sigmoid tanh", "softmax", "gelu",
        "sum", "mean", "reshape", "permute", "slice", "chunk", "linear", "linear of three axes", "matmul constant", "layer norm", "channel shuffle",
    ];

    public static TheoryData<string> All => [.. OpCases.All.Where(c => c.Value().Model is nn.Module<Tensor, Tensor> && !Refused.Contains(c.Key)).Select(c => c.Key)];

    public static TheoryData<string> Int16Names => [.. Sixteen];

    [Theory]
    [MemberData(nameof(All))]
    public void Int8ActivationsAgree(string name) => Check(name, "int8", Amplified.Contains(name) ? 0.7 : 0.95, within: Amplified.Contains(name) ? 2 : 1);

    /// <summary>A step is a 65,000th of the range, and kernels multiply by 16-bit factors: they agree to a code or two, not to the last bit.</summary>
    [Theory]
    [MemberData(nameof(Int16Names))]
    public void Int16ActivationsAgree(string name) => Check(name, "int16", 0.4, within: 4);

    [Theory]
    [InlineData("linear")]
    [InlineData("linear of three axes")]
    [InlineData("conv2d")]
    [InlineData("conv2d depthwise")]
    public void Int4WeightsAgree(string name)
    {
        using var scope = NewDisposeScope();
        manual_seed(11); OnDevice.Name = name;
        var (model, inputs) = OpCases.All[name]();
        OnDevice.Check(runtime, (nn.Module<Tensor, Tensor>)model, Varied(inputs[0]), OnDevice.Static("int4"), equal: 0.95);
    }

    private void Check(string name, string activations, double equal, int within)
    {
        using var scope = NewDisposeScope();
        manual_seed(11); OnDevice.Name = name;
        var (model, inputs) = OpCases.All[name]();
        OnDevice.Check(runtime, (nn.Module<Tensor, Tensor>)model, Varied(inputs[0]), OnDevice.Static(activations: activations), equal: equal, within: within);
    }

    /// <summary>An input, and others of its values' kind in other places: enough that one code is a small share, and that scales are in no simple ratio.</summary>
    private static Tensor[] Varied(Tensor input)
    {
        if (!input.is_floating_point())
            return [input];
        int batches = (int)Math.Clamp(2000 / input.NumberOfElements, 2, 40);
        return [input, .. Enumerable.Range(1, batches).Select(_ => input.flatten()[randperm(input.NumberOfElements)].view(input.shape) * (0.4 + (0.6 * rand(input.shape))))];
    }
}
