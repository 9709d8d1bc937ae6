using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn.functional;

namespace QwixSharp.LiteRT.Tests.Export;

/// <summary>Small models, each of one op or a few, by name.</summary>
internal static class OpCases
{
    private static readonly long[] Image = [2, 6, 9, 8];

    public static IReadOnlyDictionary<string, Func<(nn.Module Model, Tensor[] Inputs)>> All { get; } = Cases().ToDictionary(c => c.Name, c => c.Make);

    private static IEnumerable<(string Name, Func<(nn.Module, Tensor[])> Make)> Cases() =>
        [.. Convolutions(), .. Elementwise(), .. Reductions(), .. ShapeOps(), .. Products(), .. Others()];

    private static (string, Func<(nn.Module, Tensor[])>) One(string name, Func<Tensor, Tensor> function, params long[] shape) =>
        (name, () => (new Function(function), [randn(shape, generator: new Generator(1))]));

    private static (string, Func<(nn.Module, Tensor[])>) Positive(string name, Func<Tensor, Tensor> function) =>
        (name, () => (new Function(function), [rand([3, 4, 5], generator: new Generator(1)) + 0.1]));

    private static (string, Func<(nn.Module, Tensor[])>) Layer(string name, Func<nn.Module> layer, params long[] shape) =>
        (name, () => (layer(), [randn(shape, generator: new Generator(1))]));

    private static (string, Func<(nn.Module, Tensor[])>) Two(string name, Func<Tensor, Tensor, Tensor> function, long[] first, long[] second) =>
        (name, () => (new Function2(function), [randn(first, generator: new Generator(1)), randn(second, generator: new Generator(2))]));

    private static IEnumerable<(string, Func<(nn.Module, Tensor[])>)> Convolutions() =>
    [
        Layer("conv2d", () => nn.Conv2d(6, 4, 3), Image),
        Layer("conv2d same", () => nn.Conv2d(6, 4, 3, padding: 1), Image),
        Layer("conv2d padding enum", () => nn.Conv2d(6, 4, 4, padding: Padding.Same), Image),
        Layer("conv2d stride padded", () => nn.Conv2d(6, 4, 3, stride: 2, padding: 1, bias: false), Image),
        Layer("conv2d dilated", () => nn.Conv2d(6, 4, 3, dilation: 2, padding: 2), Image),
        Layer("conv2d grouped", () => nn.Conv2d(6, 4, 3, groups: 2), Image),
        Layer("conv2d depthwise", () => nn.Conv2d(6, 6, 3, groups: 6, padding: 1), Image),
        Layer("conv2d depthwise multiplier", () => nn.Conv2d(6, 12, 3, groups: 6, stride: 2), Image),
        Layer("conv2d unbatched", () => nn.Conv2d(6, 4, 3), 6, 9, 8),
        Layer("conv1d", () => nn.Conv1d(6, 4, 3, padding: 1), 2, 6, 9),
        Layer("conv_transpose2d", () => nn.ConvTranspose2d(6, 4, 2, stride: 2), Image),
        Layer("conv_transpose2d same", () => nn.ConvTranspose2d(6, 4, 4, stride: 2, padding: 1), Image),
        Layer("conv_transpose2d output padding", () => nn.ConvTranspose2d(6, 4, 3, stride: 2, padding: 1, output_padding: 1), Image),
        Layer("conv_transpose2d grouped", () => nn.ConvTranspose2d(6, 4, 3, groups: 2), Image),
        Layer("conv_transpose2d dilated", () => nn.ConvTranspose2d(6, 4, 3, dilation: 2), Image),
        Layer("conv_transpose1d", () => nn.ConvTranspose1d(6, 4, 3, stride: 2), 2, 6, 9),
        Layer("batch norm and relu after conv", () => nn.Sequential(nn.Conv2d(6, 4, 3), Normalized(nn.BatchNorm2d(4)), nn.ReLU()), Image),
        Layer("batch norm alone", () => Normalized(nn.BatchNorm2d(6)), Image),
        Layer("batch norm 1d", () => Normalized(nn.BatchNorm1d(6)), 5, 6),
        Layer("instance norm", () => nn.InstanceNorm2d(6), Image),
        // TorchSharp 0.107 leaves the weights of a group norm as the memory was.
        Layer("group norm", () => Normalized(nn.GroupNorm(3, 6)), Image),
        Layer("max pool", () => nn.MaxPool2d(2), Image),
        Layer("max pool padded", () => nn.MaxPool2d(3, stride: 2, padding: 1), Image),
        Layer("max pool ceil", () => nn.MaxPool2d(3, stride: 2, ceil_mode: true), Image),
        Layer("max pool 1d", () => nn.MaxPool1d(2), 2, 6, 9),
        Layer("average pool", () => nn.AvgPool2d(2), Image),
        Layer("average pool padded", () => nn.AvgPool2d(3, stride: 1, padding: 1), Image),
        Layer("average pool padded uncounted", () => nn.AvgPool2d(3, stride: 1, padding: 1, count_include_pad: false), Image),
        Layer("average pool stride uncounted", () => nn.AvgPool2d(3, stride: 2, padding: 1, count_include_pad: false), Image),
        Layer("average pool ceil", () => nn.AvgPool2d(2, ceil_mode: true), Image),
        Layer("average pool 1d", () => nn.AvgPool1d(3), 2, 6, 9),
        Layer("adaptive average to one", () => nn.AdaptiveAvgPool2d(1), Image),
        Layer("adaptive average even", () => nn.AdaptiveAvgPool2d([3, 4]), Image),
        Layer("adaptive average uneven", () => nn.AdaptiveAvgPool2d([4, 5]), Image),
        Layer("adaptive average grows", () => nn.AdaptiveAvgPool2d(6), 1, 4, 2, 2),
        Layer("adaptive max even", () => nn.AdaptiveMaxPool2d([3, 4]), Image),
        Layer("adaptive max uneven", () => nn.AdaptiveMaxPool2d([4, 5]), Image),
        Layer("adaptive average 1d", () => nn.AdaptiveAvgPool1d(3), 2, 6, 9),
        One("interpolate nearest", x => interpolate(x, [18, 16]), Image),
        One("interpolate nearest uneven", x => interpolate(x, [5, 11]), Image),
        One("interpolate nearest factor", x => interpolate(x, scale_factor: [1.7, 1.3]), Image),
        One("interpolate bilinear", x => interpolate(x, [13, 12], mode: InterpolationMode.Bilinear, align_corners: false), Image),
        One("interpolate bilinear corners", x => interpolate(x, [13, 12], mode: InterpolationMode.Bilinear, align_corners: true), Image),
        One("interpolate bicubic", x => interpolate(x, [13, 12], mode: InterpolationMode.Bicubic, align_corners: false), Image),
        One("interpolate linear", x => interpolate(x, [13], mode: InterpolationMode.Linear, align_corners: false), 2, 6, 9),
        One("pixel shuffle", x => pixel_shuffle(x, 2), 2, 8, 3, 3),
        One("pad", x => pad(x, [1, 2, 3, 0]), Image),
        One("pad with a value", x => pad(x, [1, 2], value: 2.5), Image),
        One("pad reflected", x => pad(x, [1, 2, 2, 1], PaddingModes.Reflect), Image),
        One("pad repeated", x => pad(x, [1, 2, 2, 1], PaddingModes.Replicate), Image),
        One("pad around", x => pad(x, [1, 2, 2, 1], PaddingModes.Circular), Image),
        One("pad cut", x => pad(x, [-1, 1]), Image),
        One("local response norm", x => local_response_norm(x, 3), Image),
        Layer("channel shuffle", () => nn.Sequential(nn.Conv2d(6, 6, 1), nn.ChannelShuffle(3), nn.Conv2d(6, 4, 1)), Image),
    ];

    private static IEnumerable<(string, Func<(nn.Module, Tensor[])>)> Elementwise() =>
    [
        Two("add", (a, b) => a + b, [3, 4], [3, 4]),
        Two("add broadcast", (a, b) => a + b, [2, 3, 4], [3, 1]),
        Two("sub", (a, b) => a - b, [3, 4], [4]),
        Two("mul", (a, b) => a * b, [3, 4], [3, 1]),
        Two("div", (a, b) => a / (b.abs() + 1), [3, 4], [3, 4]),
        Two("minimum", minimum, [3, 4], [3, 4]),
        One("maximum of a constant", x => maximum(x, linspace(-1, 1, 4)), 3, 4),
        Two("maximum", maximum, [3, 4], [4]),
        Two("add with alpha", (a, b) => a.add(b, 0.5), [3, 4], [3, 4]),
        One("numbers", x => 1 - ((x * 2 + 3) / 4 - 0.5f), 3, 4),
        One("one over", x => 1 / (x.abs() + 1), 3, 4),
        One("in place", x => (x * 2).relu_().add_(1), 3, 4),
        One("neg abs", x => -x.abs(), 3, 4),
        Positive("sqrt", x => x.sqrt()),
        Positive("rsqrt", x => x.rsqrt()),
        Positive("log", x => x.log()),
        Positive("log2 log10", x => x.log2() + x.log10()),
        Positive("pow", x => x.pow(1.5)),
        Positive("reciprocal", x => x.reciprocal()),
        One("exp", x => x.exp(), 3, 4),
        One("sin cos", x => x.sin() + x.cos(), 3, 4),
        One("square and power", x => x.square() + x.pow(2) + x.pow(3), 3, 4),
        One("floor ceil round sign", x => (x * 3).floor() + (x * 3).ceil() + (x * 3).round() + x.sign(), 3, 4),
        One("clamp", x => x.clamp(-0.5, 0.7), 3, 4),
        One("clamp by other names", x => x.clip(-0.5, 0.5) + x.clamp_min(0.1) * x.clamp_max(0.2), 3, 4),
        Two("fmax fmin", (a, b) => a.fmax(b) - a.fmin(b), [3, 4], [3, 4]),
        Two("addcmul addcdiv lerp", (a, b) => a.addcmul(b, b, 0.5) + a.addcdiv(b, b.abs() + 1, 0.3) + a.lerp(b, 0.25), [3, 4], [3, 4]),
        Two("comparisons by name", (a, b) => where(a.less_equal(b).bitwise_and(a.not_equal(b)), a, b) + where(a.ge(b).bitwise_or(a.less(b).bitwise_not()), a, b * 2), [3, 4], [3, 4]),
        One("cuts behind views", x => x.view(4, 3).relu().view(3, 4) + x.view(2, 6).clamp(-0.3, 0.2).view(3, 4), 3, 4),
        One("clamp as relu6", x => (x * 5).clamp(0, 6), 3, 4),
        One("relu", x => x.relu(), 3, 4),
        One("relu6", x => relu6(x * 5), 3, 4),
        One("leaky relu", x => leaky_relu(x, 0.2), 3, 4),
        Layer("prelu", () => nn.PReLU(6, 0.3), Image),
        Layer("prelu shared", () => nn.PReLU(1, 0.3), 3, 4),
        One("elu", x => elu(x, 1), 3, 4),
        One("elu alpha", x => elu(x, 0.7), 3, 4),
        One("selu celu", x => selu(x) + celu(x, 0.6), 3, 4),
        One("gelu", x => gelu(x), 3, 4),
        One("gelu tanh", x => gelu(x, TorchSharp.Modules.GELU.Approximate.tanh), 3, 4),
        One("sigmoid", x => x.sigmoid(), 3, 4),
        One("tanh", x => x.tanh(), 3, 4),
        One("silu", x => silu(x), 3, 4),
        One("sigmoid tanh", x => x.sigmoid() * x.tanh(), 3, 4),
        One("hardswish", x => hardswish(x), 3, 4),
        One("hardsigmoid", x => hardsigmoid(x * 3), 3, 4),
        One("hardtanh", x => (x * 1).hardtanh_(-0.4, 0.8) + (x * 2).hardtanh_(-1, 1) + (x * 10).hardtanh_(0, 6), 3, 4),
        One("softplus mish logsigmoid", x => softplus(x) + mish(x) + logsigmoid(x * 10), 3, 4),
        One("glu", x => glu(x, 1), 3, 4),
        One("softmax", x => softmax(x, -1), 3, 4, 5),
        One("softmax of channels", x => softmax(x, 1), Image),
        One("log softmax", x => log_softmax(x, 1), 3, 4),
        Two("comparisons", (a, b) => where(a > b, a, b * 2) + where((a <= b).logical_and(a != 0), a, b), [3, 4], [3, 4]),
        Two("logic", (a, b) => (a > 0).logical_or(b > 0).logical_xor(a.lt(b)).logical_not().to(ScalarType.Float32), [3, 4], [3, 4]),
        One("masked fill", x => x.masked_fill(x > 0, -2), 3, 4),
        One("masked by minus infinity", x => softmax(x.masked_fill(ones(4, 4, ScalarType.Bool).triu(1), double.NegativeInfinity), -1), 2, 4, 4),
        One("cast", x => (x * 10).to(ScalarType.Int32).to(ScalarType.Float32) / 2, 3, 4),
    ];

    private static IEnumerable<(string, Func<(nn.Module, Tensor[])>)> Reductions() =>
    [
        One("sum", x => x.sum(1), 3, 4, 5),
        One("sum of all", x => x.sum(), 3, 4),
        One("sum of several", x => x.sum([0, 2], keepdim: true), 3, 4, 5),
        One("mean", x => x.mean([2, 3]), Image),
        One("mean of channels", x => x.mean([1], keepdim: true) * 2, Image),
        One("amax amin", x => x.amax([1]) + x.amin([1]), 3, 4),
        One("max along", x => x.max(1).values, 3, 4),
        One("max and min", x => x / (x.max() - x.min()), 3, 4),
        One("prod", x => x.prod(1), 3, 4),
        One("all any", x => (x > -1).all(1).to(ScalarType.Float32) + (x > 1).any(1).to(ScalarType.Float32), 3, 4),
        One("argmin", x => x.argmin(1), 3, 4, 5),
        One("argmax", x => x.argmax(1), 3, 4, 5),
        One("argmax keepdim", x => x.argmax(-1, keepdim: true), 3, 4),
        One("argmax of all", x => x.argmax(), 3, 4),
        One("var std", x => x.var(1) + x.std(1, unbiased: false), 3, 4),
        One("norm", x => x.norm(1, false, 2), 3, 4),
        One("normalize", x => nn.functional.normalize(x, dim: 1), 3, 4),
        One("logsumexp", x => x.logsumexp(1), 3, 4),
        One("cumsum", x => x.cumsum(1), 3, 4),
    ];

    private static IEnumerable<(string, Func<(nn.Module, Tensor[])>)> ShapeOps() =>
    [
        One("reshape", x => x.view(4, 3) * 2, 3, 4),
        One("transpose and reshape", x => x.transpose(1, 2).reshape(3, 20) + 1, 3, 4, 5),
        One("permute", x => x.permute(2, 0, 1).exp(), 3, 4, 5),
        One("permute back", x => x.permute(0, 2, 3, 1).exp().permute(0, 3, 1, 2), Image),
        One("squeeze unsqueeze", x => x.unsqueeze(1).relu().squeeze(1).unsqueeze(-1), 3, 4),
        One("flatten", x => x.flatten(1), Image),
        One("movedim", x => x.movedim([0], [2]) * 2, 3, 4, 5),
        One("expand", x => x.unsqueeze(1).expand(3, 2, 4) * 2, 3, 4),
        One("expanded output", x => x.unsqueeze(1).expand(3, 2, 4), 3, 4),
        One("repeat", x => x.repeat(2, 1, 3), 3, 4),
        One("repeat interleave", x => x.repeat_interleave(2, 1), 3, 4),
        One("select", x => x.select(1, -1), 3, 4, 5),
        One("narrow", x => x.narrow(1, 1, 2), 3, 4, 5),
        One("slice", x => x[TensorIndex.Colon, TensorIndex.Slice(1, 4, 2)], 3, 5),
        One("index", x => x[TensorIndex.Ellipsis, 0] + x[0, TensorIndex.Null, TensorIndex.Slice(null, -1), 1].sum(), 3, 4, 5),
        One("index by a tensor", x => x[TensorIndex.Colon, TensorIndex.Tensor(tensor(new long[] { 2, 0 }))], 3, 4, 5),
        One("select channels", x => x[TensorIndex.Colon, 2] * 2, Image),
        One("chunk", x => x.chunk(2, 1)[1] - x.chunk(2, 1)[0], 3, 4),
        One("split", x => x.split([1, 3], 1)[1], 3, 4),
        One("split channels", x => x.chunk(2, 1)[1].relu(), Image),
        One("unbind", x => x.unbind(1)[2], 3, 4),
        One("cat of codes and products", x => cat([max_pool2d(x, 3, stride: 1, padding: 1), x * 1.7, x.matmul(linspace(-1, 1, 64).view(8, 8))], 1), Image),
        Two("where of products", (a, b) => where(ones(3, 3, ScalarType.Bool).tril(), a.matmul(b), b.matmul(a)), [2, 3, 3], [2, 3, 3]),
        Two("cat", (a, b) => cat([a, b], 1), [3, 4], [3, 2]),
        Two("stack", (a, b) => stack([a, b], 1), [3, 4], [3, 4]),
        One("shapes by other names", x => x.ravel().unflatten(0, [3, 4, 5]).swapaxes(0, 1).moveaxis([0], [2]).view_as(x) * 2, 3, 5, 4),
        Two("broadcasts", (a, b) => a.broadcast_to(2, 3, 4) * b.unsqueeze(0).expand_as(a.broadcast_to(2, 3, 4)) + a.tile([2, 1]).view(2, 3, 4), [3, 4], [3, 4]),
        One("parts by other names", x => hstack(x.tensor_split(2, 1)[0], x.hsplit(2)[1]) + concat([x, x], 1).narrow(1, 4, 4), 3, 4),
        One("flip", x => x.flip(1), 3, 4),
        One("roll", x => x.roll([1, -1], [0, 1]), 3, 4),
        One("tril", x => x.tril(), 4, 4),
        One("contiguous and clone", x => x.t().contiguous().clone() * 2, 3, 4),
        One("constant mask", x => x * arange(4).to(ScalarType.Float32) + zeros_like(x) + ones(4), 3, 4),
    ];

    private static IEnumerable<(string, Func<(nn.Module, Tensor[])>)> Products() =>
    [
        Layer("linear", () => nn.Linear(5, 7), 3, 5),
        Layer("linear of three axes", () => nn.Linear(5, 7, hasBias: false), 2, 3, 5),
        Layer("linear and relu", () => nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2)), 3, 5),
        Layer("linear after images", () => nn.Sequential(nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 7 * 6, 5)), Image),
        Layer("linear on channels last", () => new ChannelsLastLinear(), Image),
        Two("matmul", matmul, [3, 4], [4, 5]),
        Two("matmul stacked", matmul, [2, 3, 4], [2, 4, 5]),
        Two("matmul broadcast", matmul, [2, 1, 3, 4], [3, 4, 5]),
        Two("matmul transposed", (a, b) => a.matmul(b.transpose(-2, -1)), [2, 3, 4], [2, 5, 4]),
        Two("matmul vector", matmul, [3, 4], [4]),
        Two("addmm", (a, b) => b.select(0, 0).addmm(a, b, 2, 0.5f), [3, 4], [4, 5]),
        Two("mm", (a, b) => a.mm(b), [3, 4], [4, 5]),
        Two("mv and dot", (a, b) => a.mv(b) + a.select(1, 0).addmv(a, b) * b.dot(b), [3, 4], [4]),
        Two("baddbmm", (a, b) => a.baddbmm(b, ones(2, 3, 5)), [2, 3, 4], [2, 4, 5]),
        One("rms norm", x => x * (x.square().mean([-1], keepdim: true) + 1e-5).rsqrt() * linspace(0.5, 1.5, 5), 2, 3, 5),
        Two("bmm", (a, b) => bmm(a, b), [2, 3, 4], [2, 4, 5]),
        One("matmul constant", x => x.matmul(linspace(-1, 1, 20).view(4, 5)), 3, 4),
        Two("einsum", (a, b) => einsum("bqhd,bkhd->bhqk", a, b), [2, 3, 4, 5], [2, 6, 4, 5]),
        Two("einsum free", (a, b) => einsum("ij,kj->ik", a, b), [3, 4], [5, 4]),
        Layer("layer norm", () => Scaled(nn.LayerNorm(5)), 2, 3, 5),
        Layer("layer norm of two axes", () => nn.LayerNorm([3, 5]), 2, 3, 5),
        Layer("layer norm and linear", () => nn.Sequential(Scaled(nn.LayerNorm(5)), nn.Linear(5, 7)), 2, 3, 5),
        ("attention", () => (new Function3((q, k, v) => scaled_dot_product_attention(q, k, v)), [randn([2, 2, 3, 4]), randn([2, 2, 5, 4]), randn([2, 2, 5, 4])])),
        ("attention causal", () => (new Function3((q, k, v) => scaled_dot_product_attention(q, k, v, is_casual: true)), [randn([2, 2, 5, 4]), randn([2, 2, 5, 4]), randn([2, 2, 5, 4])])),
        ("attention masked", () => (new Function3((q, k, v) => scaled_dot_product_attention(q, k, v, attn_mask: eye(5, dtype: ScalarType.Bool))), [randn([2, 2, 5, 4]), randn([2, 2, 5, 4]), randn([2, 2, 5, 4])])),
        Layer("multihead attention", () => nn.TransformerEncoderLayer(8, 2, 16, 0), 3, 2, 8),
        Layer("lstm", () => new LastState(), 3, 2, 5),
    ];

    private static IEnumerable<(string, Func<(nn.Module, Tensor[])>)> Others() =>
    [
        ("embedding", () => (nn.Embedding(10, 4), [tensor(new long[,] { { 1, 2, 9 }, { 0, 1, 3 } })])),
        ("embedding of int32", () => (nn.Embedding(10, 4), [tensor(new[,] { { 1, 2, 9 }, { 0, 1, 3 } })])),
        ("index select", () => (new Function2((x, i) => x.index_select(1, i)), [randn(3, 4), tensor(new long[] { 3, 0, 1 })])),
        ("one hot", () => (new Function(x => nn.functional.one_hot(x, 5)), [tensor(new long[] { 3, 0, 1 })])),
        ("integers", () => (new Function2((a, b) => (a + b) * 2 - a), [tensor(new[] { 3, 0, 1 }), tensor(new[] { 5, 7, 9 })])),
        ("integers divided", () => (new Function(x => x / 4 + (x % 3).to(ScalarType.Float32)), [tensor(new[] { 3, 0, 10 })])),
        ("two outputs", () => (new Pair(x => (x.relu(), x.sum(1))), [randn(3, 4)])),
        ("an output twice", () => (new Pair(x => { var y = x.relu(); return (y, y.alias()); }), [randn(3, 4)])),
        ("the input itself", () => (new Pair(x => (x.alias(), x * 2)), [randn(3, 4)])),
        ("dropout", () => (nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.ReLU()), [randn(3, 4)])),
    ];

    /// <summary>A batch norm whose statistics and weights are not the initial ones.</summary>
    private static nn.Module<Tensor, Tensor> Normalized(nn.Module<Tensor, Tensor> norm)
    {
        using var noGradient = no_grad();
        foreach (var (_, tensor) in norm.named_parameters().Select(p => (p.name, (Tensor)p.parameter)).Concat(norm.named_buffers()))
        {
            if (tensor.is_floating_point())
                tensor.copy_(linspace(0.5, 1.5, tensor.NumberOfElements).view(tensor.shape));
        }

        return norm;
    }

    private static nn.Module<Tensor, Tensor> Scaled(nn.Module<Tensor, Tensor> norm) => Normalized(norm);

    private sealed class ChannelsLastLinear : nn.Module<Tensor, Tensor>
    {
        private readonly nn.Module<Tensor, Tensor> conv = nn.Conv2d(6, 6, 3, groups: 6, padding: 1), norm = nn.LayerNorm(6), linear = nn.Linear(6, 8), back = nn.Linear(8, 6);

        public ChannelsLastLinear() : base(nameof(ChannelsLastLinear)) => RegisterComponents();

        public override Tensor forward(Tensor x) => x + back.call(gelu(linear.call(norm.call(conv.call(x).permute(0, 2, 3, 1))))).permute(0, 3, 1, 2);
    }

    private sealed class LastState : nn.Module<Tensor, Tensor>
    {
        private readonly TorchSharp.Modules.LSTM lstm = nn.LSTM(5, 4);

        public LastState() : base(nameof(LastState)) => RegisterComponents();

        public override Tensor forward(Tensor x) => lstm.call(x).Item1;
    }
}
