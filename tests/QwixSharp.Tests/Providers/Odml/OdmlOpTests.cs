using QwixSharp.Numerics;
using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers.Odml;

/// <summary>Which tensors around each kind of op are fake-quantized, and by which op.</summary>
public class OdmlOpTests
{
    private const string Lhs = "dot_general0_lhs", Rhs = "dot_general0_rhs", Final = "final_output0";

    /// <summary>Functions of x [2, 8] and a weight [8, 8], and the places of their fake-quants in program order.</summary>
    private static readonly Dictionary<string, (Func<Functional, Tensor, Tensor> Forward, string[] Places)> Matrices = new()
    {
        ["linear, bias and relu fuse"] = ((m, x) => functional.relu(functional.linear(x, m.W, ones(8))), [Lhs, Rhs, Final]),
        ["a constant that is added fuses"] = ((m, x) => (ones(8) + x.matmul(m.W)).relu(), [Lhs, Rhs, Final]),
        ["a constant that is subtracted fuses"] = ((m, x) => (x.matmul(m.W) - 1).relu(), [Lhs, Rhs, Final]),
        ["a factor does not fuse"] = ((m, x) => x.matmul(m.W) * 2, [Lhs, Rhs, "mul0_lhs", Final]),
        ["an activation that is added does not fuse"] = ((m, x) => x + functional.linear(x, m.W), [Lhs, Rhs, "add0_rhs", Final]),
        ["batch norm fuses"] = ((m, x) => functional.batch_norm(functional.linear(x, m.W), zeros(8), ones(8)).relu(), [Lhs, Rhs, Final]),
        ["batch norm alone"] = ((_, x) => functional.batch_norm(x, zeros(8), ones(8)), ["batch_norm0", Final]),
        ["a transposed weight"] = ((m, x) => x.mm(m.W.t()), [Lhs, Rhs, Final]),
        ["einsum"] = ((m, x) => einsum("bi,oi->bo", x, m.W), ["einsum0_lhs", "einsum0_rhs", Final]),
        ["two activations"] = ((_, x) => x.matmul(x.t()), [Lhs, Rhs, Final]),
        ["addmm with a bias"] = ((m, x) => ones(8).addmm(x, m.W), [Lhs, Rhs, Final]),
        ["addmm with an activation"] = ((m, x) => x.addmm(x, m.W), [Lhs, Rhs, "add0_lhs", Final]),
        ["elementwise, two inputs"] = ((_, x) => maximum(x, x.exp()), ["exp0", "maximum0_rhs", Final]),
        ["a number is no input"] = ((_, x) => 1 - x, ["sub0_rhs", Final]),
        ["one tensor is quantized once"] = ((_, x) => x.exp() + x.abs() + x, ["exp0", "add0_lhs", "add0_rhs", "add1_lhs", Final]),
        ["clamping shares its output's range"] = ((_, x) => x.clamp(-1, 1).relu(), [Final]),
        ["clamping after a product"] = ((m, x) => functional.linear(x, m.W).clamp(-1, 1), [Lhs, Rhs, Final]),
        ["pooling shares its input's range"] = ((_, x) => functional.max_pool1d(x.unsqueeze(1), 2), ["max_pool1d0"]),
        ["a maximum along an axis shares its input's range"] = ((_, x) => x.max(1).values, ["max0"]),
        ["moving data is transparent"] = ((_, x) => x.view(4, 4).t().unsqueeze(0).chunk(2, 1)[0].exp(), ["exp0", Final]),
        ["dropout is transparent"] = ((m, x) => functional.dropout(functional.linear(x, m.W), training: false).relu(), [Lhs, Rhs, Final]),
        ["slices are transparent"] = ((m, x) => functional.linear(x, m.W)[TensorIndex.Ellipsis, TensorIndex.Slice(0, 4)].exp(), [Lhs, Rhs, "exp0", Final]),
        ["gather shares its input's range"] = ((_, x) => x[tensor(new long[] { 1, 0 })].exp(), ["index0", Final]),
        ["a table is one tensor"] = ((m, x) => m.W.index_select(0, x.argmax(1)).exp(), ["embedding0", Final]),
        ["concatenation shares its output's range"] = ((_, x) => cat([x.exp(), x.abs()], 1), ["exp0", Final]),
        ["stacking too"] = ((_, x) => stack([x.relu(), x.exp()]), ["exp0", Final]),
        ["silu has a sigmoid inside"] = ((_, x) => functional.silu(x), ["silu0", "silu0_sigmoid", Final]),
        ["glu has a sigmoid inside"] = ((m, x) => functional.glu(functional.linear(x, m.W), 1), [Lhs, Rhs, "glu0", "glu0_sigmoid", Final]),
        ["logarithms of other bases"] = ((_, x) => x.exp().log2() + x.exp().log10(), ["exp0", "log20", "log100", "add0_lhs", "add0_rhs", Final]),
        ["statistics"] = ((_, x) => x.var(1) + x.std(1), ["var0", "add0_lhs", "add0_rhs", Final]),
        ["norms and logsumexp"] = ((_, x) => x.norm(1, false, 2) + x.logsumexp(1), ["norm0", "add0_lhs", "add0_rhs", Final]),
        ["logsigmoid"] = ((m, x) => functional.logsigmoid(functional.linear(x, m.W)), [Lhs, Rhs, "logsigmoid0", Final]),
        ["no integer form"] = ((_, x) => x.sin(), []),
        ["no integer form after a product"] = ((m, x) => functional.linear(x, m.W).sin(), [Lhs, Rhs, "sin0"]),
        ["comparisons choose"] = ((_, x) => where(x > 0, x.exp(), x.abs()), ["exp0", Final]),
        ["masked scores stay in floating point"] = ((m, x) => functional.linear(x, m.W).masked_fill(x > 0, float.NegativeInfinity).softmax(-1), [Lhs, Rhs, "masked_fill0", Final]),
        ["an added mask too"] = ((m, x) => (functional.linear(x, m.W) + full(2, 8, -1e9f).triu(1)).softmax(-1), [Lhs, Rhs, "add0", Final]),
        ["attention"] = ((_, x) => functional.scaled_dot_product_attention(x, x, x), [Lhs, Rhs, "div0_lhs", "softmax0", "dot_general1_lhs", Final]),
        ["causal attention"] = ((_, x) => functional.scaled_dot_product_attention(x, x, x, is_casual: true), [Lhs, Rhs, "div0_lhs", "masked_fill0", "dot_general1_lhs", Final]),
        ["in place"] = (InPlace, [Lhs, Rhs, "add0_lhs", Final]),
        ["addcmul"] = ((_, x) => x.addcmul(x.exp(), x.abs(), 0.5), ["exp0", "mul0_lhs", "mul0_rhs", "mul1_lhs", "add0_rhs", Final]),
        ["addcdiv"] = ((_, x) => x.addcdiv(x.exp(), x.abs() + 1), ["exp0", "add0_lhs", "div0_lhs", "div0_rhs", "add1_rhs", Final]),
        ["lerp in place"] = ((_, x) => Kept(x.exp(), y => y.lerp_(x, tensor(0.25f))), ["exp0", "sub0_rhs", "mul0_lhs", "mul0_rhs", "add0_rhs", Final]),
        ["addmm in place"] = ((m, x) => Kept(x.exp(), y => y.addmm_(x, m.W)), ["exp0", Rhs, "add0_lhs", "add0_rhs", Final]),
        ["broadcasts keep their ranges"] = ((_, x) => Product(broadcast_tensors(x.exp(), x.abs().sum(1, keepdim: true))), ["exp0", "sum0", "mul0_lhs", "mul0_rhs", Final]),
        ["a product of all"] = ((_, x) => x.exp().prod(1), ["exp0", "prod0"]),
        ["silu in place"] = ((m, x) => functional.silu(functional.linear(x, m.W), inplace: true), [Lhs, Rhs, "silu0", "silu0_sigmoid", Final]),
        ["constants are not quantized"] = ((m, _) => zeros(2, 8) + zeros_like(m.W)[..2] + 1, []),
        ["a view of nothing"] = ((_, x) => x.alias(), []),
    };

    private static readonly Dictionary<string, (Func<Tensor, Tensor> Op, double Scale, long ZeroPoint)> FixedRanges = new()
    {
        ["softmax"] = (x => x.softmax(-1), 1.0 / 256, -128),
        ["sigmoid"] = (x => x.sigmoid(), 1.0 / 256, -128),
        ["tanh"] = (x => x.tanh(), 1.0 / 128, 0),
        ["normalize"] = (x => functional.normalize(x), 1.0 / 128, 0),
        ["log_softmax"] = (x => functional.log_softmax(x, -1), 1.0 / 16, 127),
        ["a concatenation of equal ranges"] = (x => cat([x.tanh(), x.abs().tanh()], 0), 1.0 / 128, 0),
        ["a range through moved data"] = (x => x.sigmoid().t().reshape(-1), 1.0 / 256, -128),
    };

    public static TheoryData<string> MatrixCases => [.. Matrices.Keys];

    public static TheoryData<string> FixedRangeCases => [.. FixedRanges.Keys];

    [Theory]
    [MemberData(nameof(MatrixCases))]
    public void FakeQuantsAreWhereTheDeviceHasRanges(string name)
    {
        using var scope = NewDisposeScope();
        var (forward, places) = Matrices[name];
        // Results that do not depend on the input are refused in strict mode.
        bool strict = name != "constants are not quantized";
        using var model = new Functional(Some(8, 8), forward);
        // A rule has to match something, or the model is refused.
        QuantizationRule[] rules = OnDevice.Int8;
        var (expected, actual, provider) = OnDevice.Convert(model, Some(2, 8), rules, strict);
        Assert.Equal(places, provider.FakeQuants.Select(f => f.Place));
        if (expected.isfinite().all().item<bool>())
            Assert.InRange(Golden.GoldenValue.Snr(expected, actual), 18, double.PositiveInfinity);
    }

    [Theory]
    [MemberData(nameof(FixedRangeCases))]
    public void FixedRangesAreThoseOfTheDevicesKernels(string name)
    {
        using var scope = NewDisposeScope();
        var (op, scale, zeroPoint) = FixedRanges[name];
        var final = OnDevice.FakeQuantsOf((_, x) => op(x), Some(2, 8), Some(8, 8))[^1];
        Assert.Equal(Final, final.Place);
        Assert.Equal(scale, final.Scale[0], 1e-7);
        Assert.Equal(zeroPoint, final.ZeroPoint![0]);
    }

    [Fact]
    public void ARangeOfTwoKindsIsSeenAndNotFixed()
    {
        using var scope = NewDisposeScope();
        var final = OnDevice.FakeQuantsOf((_, x) => cat([x.relu() * 9, x.tanh()], 0), Some(2, 8), Some(8, 8))[^1];
        Assert.True(final.Scale[0] > 3.0 / 128);
    }

    [Fact]
    public void WeightsAreSymmetricPerChannelAndActivationsAsymmetricPerTensor()
    {
        using var scope = NewDisposeScope();
        var quants = OnDevice.FakeQuantsOf((m, x) => functional.linear(x, m.W), Some(2, 8), Some(6, 8));
        Assert.Equal(["", "w", ""], quants.Select(q => q.WeightName ?? ""));
        Assert.Equal([1, 6, 1], quants.Select(q => q.Scale.Count));
        Assert.Equal([false, true, false], quants.Select(q => q.ZeroPoint is null));
        Assert.Equal([null, 0, null], quants.Select(q => q.QuantizationDimension));
        Assert.Equal([false, true, false], quants.Select(q => q.NarrowRange));
        Assert.Equal([2L, 8], quants[0].Shape);
        Assert.All(quants, q => Assert.Equal(QType.Int8, q.QType));
    }

    [Fact]
    public void TheChannelsOfATransposedConvolutionAreItsSecondAxis()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("c", ConvTranspose2d(3, 5, 2)));
        var provider = OnDevice.Convert(model, Some(1, 3, 4, 4), OnDevice.Int8).Provider;
        var weight = provider.FakeQuants.Single(q => q.WeightName == "c.weight");
        Assert.Equal((1, 5), (weight.QuantizationDimension, weight.Scale.Count));
    }

    [Fact]
    public void DynamicRangesHaveNoScales()
    {
        using var scope = NewDisposeScope();
        QuantizationRule[] rules = [new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = false }];
        var quants = OnDevice.FakeQuantsOf((m, x) => functional.linear(x, m.W).exp(), Some(2, 8), Some(8, 8), rules);
        Assert.Equal([Lhs, Rhs], quants.Select(q => q.Place));
        Assert.Empty(quants[0].Scale);
        Assert.Equal(8, quants[1].Scale.Count);
    }

    [Fact]
    public void WithoutAnActivationTypeOnlyWeightsAreQuantized()
    {
        using var scope = NewDisposeScope();
        QuantizationRule[] rules = [new() { WeightQType = "int4" }];
        var quants = OnDevice.FakeQuantsOf((m, x) => functional.linear(x, m.W).exp().softmax(-1), Some(2, 8), Some(8, 8), rules);
        Assert.Equal([Rhs], quants.Select(q => q.Place));
    }

    [Fact]
    public void ARuleForAnOpChangesItsOutputAlone()
    {
        using var scope = NewDisposeScope();
        QuantizationRule[] rules = [new() { OpNames = ["exp"], ActQType = "int16" }, .. OnDevice.Int8];
        var quants = OnDevice.FakeQuantsOf((m, x) => functional.linear(x, m.W).exp().abs(), Some(2, 8), Some(8, 8), rules);
        Assert.Equal([Lhs, Rhs, "exp0", "abs0", Final], quants.Select(q => q.Place));
        Assert.Equal([8, 8, 8, 16, 8], quants.Select(q => q.QType.Bits));
    }

    [Fact]
    public void AnOpMayBeGivenAKind()
    {
        using var scope = NewDisposeScope();
        using var model = new Functional(Some(8, 8), (_, x) => x.erfinv());
        var x = Some(2, 8) * 0.1;
        using var qat = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8, ops: new Dictionary<string, OdmlOp> { ["erfinv"] = OdmlOp.FixedRange(-4, 4) }), x);
        Assert.Equal(["erfinv0", Final], qat.QuantStats.Places);
    }

    [Fact]
    public void OpsInPlaceChangeWhatViewsOfTheTensorAre()
    {
        using var scope = NewDisposeScope();
        var quants = OnDevice.FakeQuantsOf((_, x) =>
        {
            var y = x.exp();
            var view = y.view(-1);
            var before = view.abs();
            y.mul_(10);
            return cat([before, view.abs()], 0);
        }, Some(2, 8), Some(8, 8));
        Assert.Equal(["exp0", "abs0", "mul0_lhs", "abs1", Final], quants.Select(q => q.Place));
        Assert.Equal(10, quants[3].Scale[0] / quants[1].Scale[0], 0.2f);
    }

    /// <summary>A tensor after an op in place, whose result is not used.</summary>
    private static Tensor Kept(Tensor tensor, Action<Tensor> op)
    {
        op(tensor);
        return tensor;
    }

    private static Tensor Product(IList<Tensor> factors) => factors[0] * factors[1];

    private static Tensor InPlace(Functional model, Tensor x)
    {
        var y = functional.linear(x, model.W);
        y.add_(x);
        return y.relu_();
    }

    private static Tensor Some(params long[] shape)
    {
        using var generator = new Generator(5);
        return randn(shape, generator: generator);
    }
}
