using QwixSharp.LiteRT.Tests.Export;
using QwixSharp.LiteRT.Tests.Runtime;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Integers;

/// <summary>Ops on integers, each alone: within one code of the conversion model, and 99% equal, but for the exceptions named here.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class IntegerOpTests(LiteRtRuntime runtime)
{
    /// <summary>What on-device training has no kind for, and refuses.</summary>
    private static readonly HashSet<string> Refused = ["local response norm", "lstm"];

    /// <summary>Largest difference in codes, least share of equal ones, and why.</summary>
    private static readonly Dictionary<string, (int Within, double Equal)> Int8 = new()
    {
        // Halves of whole numbers: nearly all are ties, and the last bit of a quotient decides.
        ["cast"] = (1, 0.92),
        // Parts of the model's input have ranges of their own, and the file's input has one: these are rounded twice.
        ["chunk"] = (2, 0.9),
        ["index"] = (2, 0.9),
        // XNNPACK weighs neighbours in 11 bits, and takes ties upwards.
        ["interpolate bilinear"] = (1, 0.96),
        // XNNPACK scales by factors of 8 bits.
        ["leaky relu"] = (1, 0.96),
    };

    /// <summary>Of 65,536 codes. Here the tables and factors of LiteRT's kernels have about 16 bits themselves.</summary>
    private static readonly Dictionary<string, (int Within, double Equal)> Int16 = new()
    {
        // A table of 513 values, and lines between them.
        ["gelu"] = (64, 0.3),
        ["sigmoid tanh"] = (8, 0.2),
        ["softmax"] = (1, 0.7),
        // Sums of 64 bits, which are scaled by 16-bit factors; depthwise convolutions have no others.
        ["conv2d depthwise"] = (1, 0.85),
        ["leaky relu"] = (1, 0.85),
        ["mean"] = (1, 0.95),
        ["reshape"] = (1, 0.98),
        // Rounded twice, as with int8.
        ["chunk"] = (1, 0.85),
        // In floating point, whose last bits decide at ties.
        ["interpolate bilinear"] = (1, 0.94),
    };

    public static TheoryData<string> All => [.. OpCases.All.Where(c => c.Value().Model is nn.Module<Tensor, Tensor> && !Refused.Contains(c.Key)).Select(c => c.Key)];

    public static TheoryData<string> Int16Names =>
    [
        "conv2d", "conv2d depthwise", "conv_transpose2d", "batch norm and relu after conv", "max pool", "average pool", "pad", "interpolate bilinear", "relu", "leaky relu", "sigmoid tanh", "softmax", "gelu",
        "sum", "mean", "reshape", "permute", "slice", "chunk", "linear", "linear of three axes", "matmul constant", "layer norm", "channel shuffle",
    ];

    [Theory]
    [MemberData(nameof(All))]
    public void Int8ActivationsAgree(string name) => Check(name, OnDevice.Static(), Int8);

    [Theory]
    [MemberData(nameof(Int16Names))]
    public void Int16ActivationsAgree(string name) => Check(name, OnDevice.Static(activations: "int16"), Int16);

    [Theory]
    [InlineData("linear")]
    [InlineData("linear of three axes")]
    [InlineData("conv2d")]
    [InlineData("conv2d depthwise")]
    public void Int4WeightsAgree(string name) => Check(name, OnDevice.Static("int4"), []);

    private void Check(string name, Rules.QuantizationRule[] rules, Dictionary<string, (int Within, double Equal)> exceptions)
    {
        using var scope = NewDisposeScope();
        manual_seed(11);
        var (model, inputs) = OpCases.All[name]();
        var (within, equal) = exceptions.GetValueOrDefault(name, (1, 0.99));
        OnDevice.Check(runtime, (nn.Module<Tensor, Tensor>)model, Varied(inputs[0]), rules, equal: equal, within: within);
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
