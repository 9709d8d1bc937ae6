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

    public static TheoryData<string> All => [.. OpCases.All.Where(c => HasOneResult(c.Value().Model) && !Refused.Contains(c.Key)).Select(c => c.Key)];

    [Theory]
    [MemberData(nameof(All))]
    public void Int8ActivationsAgree(string name) => Check(name, OnDevice.Static());

    /// <summary>Ranges without zero points: XNNPACK has more kernels for these than for others.</summary>
    [Theory]
    [MemberData(nameof(All))]
    public void SymmetricInt8ActivationsAgree(string name) => Check(name, [OnDevice.Static()[0] with { ActCalibrationMethod = "absmax" }]);

    /// <summary>Which kernel has a product of activations depends on its right side's zero point; they round in different ways.</summary>
    [Theory]
    [InlineData("matmul stacked", "minmax")]
    [InlineData("matmul stacked", "absmax")]
    [InlineData("matmul transposed", "absmax")]
    [InlineData("matmul broadcast", "absmax")]
    [InlineData("einsum", "absmax")]
    [InlineData("attention", "absmax")]
    public void ProductsOfActivationsAreEqual(string name, string calibration) => Check(name, [OnDevice.Static()[0] with { ActCalibrationMethod = calibration }], equal: 1);

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

    /// <summary>
    /// A step of the sums is more than all codes of the output, whose range is a mean of many that are 0. XNNPACK refuses such linear layers, and leaves such
    /// products of activations to other kernels.
    /// </summary>
    [Theory]
    [InlineData(true, 0)]
    [InlineData(true, 0.3)]
    [InlineData(false, 0)]
    public void OutputsThatHardlyMoveAgree(bool isWeight, double bias)
    {
        using var scope = NewDisposeScope();
        var (weight, step) = (tensor([0f, 1, 127, 0]), tensor((float)bias));
        var linear = nn.Linear(4, 5);
        using (no_grad())
        {
            linear.weight!.copy_(weight);
            linear.bias!.copy_(step);
        }

        nn.Module model = isWeight ? linear : new Function2((a, b) => a.matmul(b));
        Tensor[] Batch(float moved) => isWeight ? [tensor([127, moved, 0, 0]).expand(3, 4)] : [tensor([127, moved, 0, 0]).expand(2, 3, 4), weight.unsqueeze(-1).expand(2, 4, 5)];
        OnDevice.Check(runtime, model, [.. Enumerable.Repeat(Batch(0), 7), Batch(1)], OnDevice.Static(), equal: 1);
    }

    /// <summary>The range behind a ReLU has no negative numbers, which the other reader of its input needs.</summary>
    [Fact]
    public void WhatAReluCutsOffIsKeptForOthers()
    {
        using var scope = NewDisposeScope();
        var x = linspace(-3, 3, 300).reshape(1, 300);
        var (converted, training) = OnDevice.Convert(new Function(t => cat([t, t.relu() * 0.37f], 1)), [x], OnDevice.Static());
        using (training)
        using (converted)
        {
            var graph = LiteRtConverter.Convert(converted, x).Inspect().Subgraphs[0];
            var codes = graph.Tensors[graph.Inputs[0]].Quantization!;
            Assert.InRange(codes.Scales[0] * (-128 - codes.ZeroPoints[0]), -3.1, -2.9);
        }
    }

    private void Check(string name, Rules.QuantizationRule[] rules, double equal = 0.99)
    {
        using var scope = NewDisposeScope();
        manual_seed(11);
        var (model, inputs) = OpCases.All[name]();
        OnDevice.Check(runtime, model, Varied(inputs), rules, equal: equal);
    }

    private static bool HasOneResult(nn.Module model) => model is nn.Module<Tensor, Tensor> or nn.Module<Tensor, Tensor, Tensor> or nn.Module<Tensor, Tensor, Tensor, Tensor>;

    /// <summary>
    /// Inputs, and others with their values in other places and smaller: so many that a code is a small share, and no scale a simple multiple of
    /// another, which makes ties.
    /// </summary>
    private static Tensor[][] Varied(Tensor[] inputs)
    {
        if (!inputs.All(i => i.is_floating_point()))
            return [inputs];
        int batches = (int)Math.Clamp(2000 / inputs.Min(i => i.NumberOfElements), 2, 40);
        return [inputs, .. Enumerable.Range(0, batches).Select(_ => Array.ConvertAll(inputs, i => i.flatten()[randperm(i.NumberOfElements)].view(i.shape) * (0.4 + (0.6 * rand(i.shape)))))];
    }
}
