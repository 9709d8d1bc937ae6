using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace QwixSharp.Tests.Providers;

/// <summary>Each TorchSharp op that is a product: its weight is quantized, and the result is that of the dequantized weight.</summary>
public class OpMapTests
{
    private static readonly long[] Matrix = [16, 24];

    /// <summary>Name, shape of the weight, shape of the input, and the op with the weight in any form.</summary>
    private static readonly Dictionary<string, (long[] Weight, long[] Input, Func<Tensor, Tensor, Tensor> Op)> Ops = new()
    {
        ["linear"] = (Matrix, [3, 5, 24], (x, w) => F.linear(x, w)),
        ["linear, one vector"] = (Matrix, [24], (x, w) => F.linear(x, w)),
        ["linear, bias"] = (Matrix, [3, 24], (x, w) => F.linear(x, w, ones(16))),
        ["matmul, transposed"] = (Matrix, [3, 24], (x, w) => matmul(x, w.t())),
        ["matmul, T"] = (Matrix, [3, 24], (x, w) => x.matmul(w.T)),
        ["matmul, transpose(0, 1)"] = (Matrix, [2, 3, 24], (x, w) => x.matmul(w.transpose(0, 1))),
        ["matmul, cast and transposed"] = (Matrix, [3, 24], (x, w) => x.matmul(w.to(ScalarType.Float32).contiguous().permute(1, 0))),
        ["matmul, weight on the left"] = (Matrix, [24, 7], (x, w) => matmul(w, x)),
        ["matmul, weight on the left of a stack"] = (Matrix, [2, 4, 24, 7], (x, w) => matmul(w, x)),
        ["matmul, weight times vector"] = (Matrix, [24], (x, w) => matmul(w, x)),
        ["matmul, vector times weight"] = ([24, 16], [24], (x, w) => matmul(x, w)),
        ["matmul, stacks"] = ([4, 24, 16], [4, 3, 24], (x, w) => matmul(x, w)),
        ["mm"] = ([24, 16], [3, 24], (x, w) => mm(x, w)),
        ["mv"] = (Matrix, [24], (x, w) => w.mv(x)),
        ["bmm"] = ([4, 24, 16], [4, 3, 24], (x, w) => bmm(x, w)),
        ["addmm"] = ([24, 16], [3, 24], (x, w) => addmm(ones(16), x, w, 0.5f, 2f)),
        ["addmv"] = (Matrix, [24], (x, w) => ones(16).addmv(w, x)),
        ["baddbmm"] = ([4, 24, 16], [4, 3, 24], (x, w) => x.baddbmm(w, ones(4, 3, 16), 2f, 0.5f)),
        ["addbmm"] = ([4, 24, 16], [4, 3, 24], (x, w) => ones(3, 16).addbmm(x, w)),
        ["tensordot, axes"] = ([16, 6, 4], [3, 4, 6], (x, w) => tensordot(x, w, [2L, 1L], [1L, 2L])),
        ["tensordot, pairs"] = ([16, 6], [3, 6], (x, w) => x.tensordot(w, [(1L, 1L)])),
        ["inner"] = (Matrix, [3, 24], (x, w) => inner(x, w)),
        ["dot"] = ([24], [24], (x, w) => dot(x, w)),
        ["multi_dot"] = (Matrix, [3, 24], (x, w) => linalg.multi_dot([x, w.t(), ones(16, 5)])),
        ["bilinear"] = ([5, 6, 6], [3, 6], (x, w) => F.bilinear(x, x, w, ones(5))),
        ["einsum"] = (Matrix, [3, 24], (x, w) => einsum("bi,oi->bo", x, w)),
        ["einsum, transposed weight"] = (Matrix, [3, 24], (x, w) => einsum("bi,io->bo", x, w.t())),
        ["einsum, implicit output"] = (Matrix, [3, 24], (x, w) => einsum("bi,oi", x, w)),
        ["einsum, ellipsis"] = (Matrix, [2, 3, 24], (x, w) => einsum("...i,oi->...o", x, w)),
        ["conv1d"] = ([8, 4, 3], [2, 4, 20], (x, w) => F.conv1d(x, w, ones(8), 2, 1)),
        ["conv2d"] = ([8, 2, 3, 3], [2, 4, 9, 10], (x, w) => F.conv2d(x, w, null, [2, 1], [1, 2], [1, 2], 2)),
        ["conv2d, unbatched"] = ([8, 4, 3, 3], [4, 9, 10], (x, w) => F.conv2d(x, w, ones(8))),
        ["conv2d, depthwise"] = ([4, 1, 3, 3], [2, 4, 9, 10], (x, w) => F.conv2d(x, w, groups: 4)),
        ["conv2d, padding same"] = ([8, 4, 4, 3], [2, 4, 9, 10], (x, w) => F.conv2d_padding(x, w, null, [1, 1], TorchSharp.Padding.Same)),
        ["conv3d"] = ([8, 4, 2, 3, 3], [1, 4, 4, 6, 6], (x, w) => F.conv3d(x, w)),
        ["conv_transpose1d"] = ([4, 8, 3], [2, 4, 10], (x, w) => F.conv_transpose1d(x, w, ones(8), 2, 1, 1)),
        ["conv_transpose2d"] = ([4, 8, 3, 3], [2, 4, 5, 6], (x, w) => F.conv_transpose2d(x, w, null, [2, 2], [1, 1])),
        ["conv_transpose3d"] = ([4, 4, 2, 3, 3], [1, 4, 3, 4, 4], (x, w) => F.conv_transpose3d(x, w, groups: 2)),
        ["slice of a weight"] = ([32, 24], [3, 24], (x, w) => F.linear(x, w.narrow(0, 8, 16))),
        ["range of a weight"] = ([32, 24], [3, 24], (x, w) => F.linear(x, w[8..24])),
        ["chunks of a weight"] = ([48, 24], [3, 24], (x, w) => F.linear(x, w.chunk(3, 0)[1])),
        ["reshaped weight"] = ([16, 4, 6], [3, 24], (x, w) => F.linear(x, w.reshape(16, 24))),
        ["permuted stack"] = ([4, 16, 24], [4, 3, 24], (x, w) => x.bmm(w.permute(0, 2, 1))),
        ["embedding"] = ([40, 16], [6], (x, w) => w.index_select(0, (x.abs() * 10).to(ScalarType.Int64))),
    };

    public static IEnumerable<TheoryDataRow<string>> Names() => Ops.Keys.Select(name => new TheoryDataRow<string>(name));

    [Theory]
    [MemberData(nameof(Names))]
    public void AWeightOnlyOpIsThatOfItsDequantizedWeight(string name)
    {
        using var scope = NewDisposeScope();
        var (ptq, x, plain) = Quantize(name, new QuantizationRule { WeightQType = "int8" });
        using var _ = ptq;
        var (_, array) = Assert.Single(ptq.Weights);
        Assert.Equal("int8", array.QType.Name);
        var op = Ops[name].Op;
        var expected = name.StartsWith("einsum") ? plain : op(x, DequantizedParameter(ptq, Ops[name].Weight));
        var y = ptq.call(x);
        Assert.Equal(plain.shape, y.shape);
        Assert.Equal(plain.dtype, y.dtype);
        double snr = Golden.GoldenValue.Snr(expected, y);
        bool whole = array.Shape.Length == Ops[name].Weight.Length && array.Shape.SequenceEqual(Ops[name].Weight);
        Assert.True(snr > (whole && !name.StartsWith("einsum") ? 110 : 35), $"SNR {snr:f1} dB");
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void QuantizedActivationsStayClose(string name)
    {
        using var scope = NewDisposeScope();
        var (ptq, x, plain) = Quantize(name, new QuantizationRule { WeightQType = "int8", ActQType = "int8" });
        using var _ = ptq;
        var y = ptq.call(x);
        Assert.Equal(plain.shape, y.shape);
        Assert.InRange(Golden.GoldenValue.Snr(plain, y), 25, name == "embedding" ? 80 : 60);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void ReleasedWeightsGiveTheSame(string name)
    {
        using var scope = NewDisposeScope();
        var (ptq, x, _) = Quantize(name, new QuantizationRule { WeightQType = "int8" });
        using var __ = ptq;
        var before = ptq.call(x).contiguous();
        ptq.ReleaseOriginalWeights();
        var after = ptq.call(x).contiguous();
        Assert.Equal(before.bytes.ToArray(), after.bytes.ToArray());
        Assert.True(((Functional)ptq.Original).W.isnan().all().item<bool>());
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void AttentionsTwoProductsAreQuantized(bool causal, bool masked)
    {
        using var scope = NewDisposeScope();
        manual_seed(5);
        using var model = new Functional(randn(8, 8), (m, x) => F.scaled_dot_product_attention(x, F.linear(x, m.W), x, masked ? ones(6, 6, ScalarType.Bool).tril() : null, 0, causal));
        var x = randn(2, 3, 6, 8);
        var plain = model.call(x);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "int8", ActQType = "int8" }]), x);
        Assert.InRange(Golden.GoldenValue.Snr(plain, ptq.call(x)), 20, 60);
        using var weightOnly = Qwix.QuantizeModel(model, new PtqProvider([new() { ModulePath = "none" }, new() { WeightQType = "fp8" }]), x);
        Assert.InRange(Golden.GoldenValue.Snr(plain, weightOnly.call(x)), 20, 60);
    }

    [Fact]
    public void AttentionBroadcastsItsBatchAxes()
    {
        using var scope = NewDisposeScope();
        using var model = new Functional(randn(8, 8), (m, x) => F.scaled_dot_product_attention(F.linear(x, m.W), x[..1], x[..1]));
        var x = randn(2, 3, 6, 8);
        var plain = model.call(x);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "int8", ActQType = "int8" }]), x);
        Assert.InRange(Golden.GoldenValue.Snr(plain, ptq.call(x)), 20, 60);
    }

    private static (QuantizedModule<Tensor, Tensor> Model, Tensor Input, Tensor Plain) Quantize(string name, QuantizationRule rule)
    {
        manual_seed(3);
        var (weight, input, op) = Ops[name];
        var model = new Functional(randn(weight), (m, x) => op(x, m.W));
        var x = randn(input);
        using var noGrad = no_grad();
        var plain = model.call(x);
        return (Qwix.QuantizeModel(model, new PtqProvider([rule]), x), x, plain);
    }

    private static Tensor DequantizedParameter(IQuantizedModel ptq, long[] shape)
    {
        var array = ptq.Weights.Values.Single();
        return array.Shape.SequenceEqual(shape) ? array.Dequantize() : ((Functional)ptq.Original).W.detach();
    }
}
