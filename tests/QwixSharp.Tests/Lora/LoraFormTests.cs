using QwixSharp.Numerics;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Golden;
using QwixSharp.Tests.Providers;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Lora;

/// <summary>
/// Products of every kind with a weight: with an adapter the result, and the gradient of the input, are those of the plain
/// product with the merged weight.
/// </summary>
public sealed class LoraFormTests
{
    public static TheoryData<string, string?> Cases => new(
        from product in Products.Keys
        from qtype in new[] { null, "int8", "nf4" }
        select (product, qtype));

    private static Dictionary<string, (long[] Weight, long[] Input, Func<Functional, Tensor, Tensor> Forward)> Products { get; } = new()
    {
        ["linear"] = ([24, 16], [5, 3, 16], (m, x) => nn.functional.linear(x, m.W)),
        ["matmul"] = ([16, 24], [5, 16], (m, x) => x.matmul(m.W)),
        ["matmul, transposed"] = ([24, 16], [5, 16], (m, x) => x.matmul(m.W.t())),
        ["matmul, a vector"] = ([16, 24], [16], (m, x) => x.matmul(m.W)),
        ["matmul, a part"] = ([16, 48], [5, 16], (m, x) => x.matmul(m.W.narrow(1, 8, 24))),
        ["bmm"] = ([3, 16, 24], [3, 5, 16], (m, x) => x.bmm(m.W)),
        ["tensordot"] = ([8, 6, 12], [5, 6, 8], (m, x) => tensordot(x, m.W, [2, 1], [0, 1])),
        ["einsum"] = ([16, 4, 6], [2, 5, 16], (m, x) => einsum("btd,dnh->btnh", x, m.W)),
        ["einsum, batch"] = ([4, 16, 6], [5, 4, 16], (m, x) => einsum("bnd,ndh->bnh", x, m.W)),
        ["einsum, two contracted"] = ([4, 6, 16], [2, 5, 4, 6], (m, x) => einsum("btnh,nhd->btd", x, m.W)),
        ["einsum, summed alone"] = ([16, 12], [5, 3, 16], (m, x) => einsum("btd,dh->bh", x, m.W)),
        ["conv1d"] = ([12, 8, 3], [2, 8, 11], (m, x) => nn.functional.conv1d(x, m.W, padding: 1)),
        ["conv2d"] = ([12, 8, 3, 3], [2, 8, 9, 8], (m, x) => nn.functional.conv2d(x, m.W, strides: [2, 2], padding: [1, 0], dilation: [1, 2])),
        ["conv3d"] = ([6, 4, 2, 2, 2], [1, 4, 4, 4, 5], (m, x) => nn.functional.conv3d(x, m.W, strides: [1, 1, 2])),
        ["conv_transpose2d"] = ([8, 12, 3, 3], [2, 8, 5, 5], (m, x) => nn.functional.conv_transpose2d(x, m.W, strides: [2, 2], padding: [1, 1], output_padding: [1, 1])),
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void ResultAndGradientAreThoseOfTheMergedWeight(string product, string? qtype)
    {
        using var scope = NewDisposeScope();
        var (weightShape, inputShape, forward) = Products[product];
        using var model = new Functional(randn(weightShape), forward);
        var x = randn(inputShape).requires_grad_();
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Rule(qtype)), x);
        Assert.Equal(qtype is null ? 0 : 1, lora.Weights.Count);
        using var merged = new Functional(lora.Adapters.Merge()["w"], forward);

        var same = x.detach().clone().requires_grad_();
        var (expected, actual) = (merged.call(same), lora.call(x));
        GoldenValue.AssertClose(expected, actual, 1e-5);
        using (no_grad())
            GoldenValue.AssertClose(expected, lora.call(x), 1e-5);
        var weights = randn_like(expected);
        (expected * weights).sum().backward();
        (actual * weights).sum().backward();
        GoldenValue.AssertClose(same.grad!, x.grad!, 1e-5);
        Assert.Null(model.W.grad);

        // The adapter's own gradients are the merged weight's through the product A·B.
        foreach (var (name, parameter) in lora.named_parameters())
            GoldenValue.AssertClose(FiniteDifference(() => (lora.call(x.detach()).to(ScalarType.Float64) * weights).sum().item<double>(), parameter), parameter.grad!.sum().reshape(1), 2e-2);
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("einsum")]
    [InlineData("conv2d")]
    public void RoundingOfActivationsIsPassedStraightThrough(string product)
    {
        using var scope = NewDisposeScope();
        var (weightShape, inputShape, forward) = Products[product];
        using var model = new Functional(randn(weightShape), forward);
        var x = randn(inputShape).requires_grad_();
        var rule = Rule("int8") with { ActQType = "int8" };
        using var lora = Qwix.ApplyLora(model, new LoraProvider(rule), x);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider([rule]), x.detach());
        lora.Adapters.Disable();
        var y = lora.call(x);
        using (no_grad())
            GoldenValue.AssertClose(ptq.call(x.detach()), y, 1e-6);

        using var dequantized = new Functional(lora.Weights["w"].Dequantize(), forward);
        var same = x.detach().clone().requires_grad_();
        dequantized.call(same).square().sum().backward();
        // The loss is linear in the result, so that the incoming gradients are equal.
        (y * 2 * dequantized.call(same).detach()).sum().backward();
        GoldenValue.AssertClose(same.grad!, x.grad!, 1e-5);
    }

    [Fact]
    public void AProductOfTwoQuantizedActivationsHasAGradient()
    {
        using var scope = NewDisposeScope();
        using var model = new Functional(randn(16, 16), (m, x) => nn.functional.linear(x, m.W) is var h ? h.matmul(h.transpose(-1, -2)) : x);
        var x = randn(2, 5, 16).requires_grad_();
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Rule("int8") with { ActQType = "int8" }), x);
        lora.call(x).sum().backward();
        using var plain = new Functional(lora.Adapters.Merge()["w"], (m, x) => nn.functional.linear(x, m.W) is var h ? h.matmul(h.transpose(-1, -2)) : x);
        var same = x.detach().clone().requires_grad_();
        plain.call(same).sum().backward();
        GoldenValue.AssertClose(same.grad!, x.grad!, 0.05);
    }

    [Fact]
    public void AConvolutionWithGroupsHasAnAdapterThatCannotBeMerged()
    {
        using var scope = NewDisposeScope();
        using var model = new Functional(randn(12, 4, 3, 3), (m, x) => nn.functional.conv2d(x, m.W, groups: 2));
        var x = randn(2, 8, 6, 6);
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Rule(null)), x);
        var weights = lora.Adapters["default"]["w"];
        var down = nn.functional.conv2d(x, weights.A, groups: 2);
        var expected = model.call(x) + (weights.Scaling * einsum("brhw,ro->bohw", down, weights.B));
        GoldenValue.AssertClose(expected, lora.call(x), 1e-5);

        var error = Assert.Throws<QwixException>(() => lora.Adapters.Merge());
        Assert.Contains("\"w\"", error.Message);
        Assert.Contains("groups", error.Message);
        var refused = Assert.Throws<QwixException>(() => Qwix.ApplyLora(model, new LoraProvider(Rule(null) with { Rank = 3 }), x));
        Assert.Contains("2 groups", refused.Message);
    }

    private static LoraRule Rule(string? qtype) => new()
    {
        Rank = 2,
        Alpha = 3,
        WeightQType = qtype is null ? null : QType.Parse(qtype),
        InitializeB = b => b.normal_(),
    };

    /// <summary>The derivative along the direction in which all values of a parameter grow alike.</summary>
    private static Tensor FiniteDifference(Func<double> loss, Tensor parameter)
    {
        using var noGrad = no_grad();
        const double step = 1e-2;
        parameter.add_(step);
        double above = loss();
        parameter.sub_(2 * step);
        double below = loss();
        parameter.add_(step);
        return tensor(new[] { (above - below) / (2 * step) });
    }
}
