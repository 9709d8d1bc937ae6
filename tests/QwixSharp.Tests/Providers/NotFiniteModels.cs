using QwixSharp.Arrays;
using QwixSharp.Rules;
using QwixSharp.Tests.Interception.Deferred;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>Models with each kind of op through which a value that is not finite can pass.</summary>
internal static class NotFiniteModels
{
    private const int Width = 64;

    internal static readonly Dictionary<string, NotFiniteModel> All = new()
    {
        ["linear"] = new(() => Linear(Width, 24), [5, Width]) { IsNarrowToo = true },
        ["linear of one row"] = new(() => Linear(Width, 24), [1, Width]) { IsNarrowToo = true },
        ["linear of an odd depth"] = new(() => Linear(37, 19), [7, 37]) { HasTiles = false },
        ["linear of many rows"] = new(() => Linear(2 * Width, 40), [3, 70, 2 * Width]) { IsNarrowToo = true },
        ["linear of a transposed input"] = new(() => new OfFunction(x => x.t(), Linear(Width, 24)), [Width, 5]),
        ["linear and ReLU"] = new(() => Sequential(Linear(Width, Width), ReLU(), Linear(Width, 8)), [5, Width]),
        ["linear and GELU"] = new(() => Sequential(Linear(Width, 96), GELU(), Linear(96, 8)), [5, Width]),
        ["layer norm"] = new(() => Sequential(LayerNorm(Width), Linear(Width, Width), LayerNorm(Width)), [5, Width]),
        ["rms norm"] = new(() => new OfFunction(x => x * (x.square().mean([-1], keepdim: true) + 1e-5).rsqrt(), Linear(Width, 24)), [5, Width]),
        ["gate"] = new(() => new Gate(), [5, Width]),
        ["rotation"] = new(() => new OfFunction(Rotate, Linear(Width, 24)), [1, 2, 5, Width]),
        ["attention"] = new(() => new LambdaModel((_, x) => functional.scaled_dot_product_attention(x, x, x)), [1, 2, 32, Width]) { IsOfActivations = true, IsNarrowToo = true },
        ["attention with hidden tokens"] = new(() => new LambdaModel((_, x) => HidingAttention(x)), [1, 2, 32, Width]) { IsOfActivations = true },
        ["attention of products"] = new(() => new LambdaModel((_, x) => (x.matmul(x.transpose(-2, -1)) / 8).softmax(-1).matmul(x)), [2, 32, Width]) { IsOfActivations = true },
        ["attention block"] = new(() => new HeadsModel(), [2, 6, Width]) { IsOfActivations = true, HasTiles = false },
        ["transformer layer"] = new(() => new Encoder(), [6, 2, Width]) { IsOfActivations = true, HasTiles = false },
        ["recurrence"] = new(() => new Recurrent(), [3, 2, Width]),
        ["convolution"] = new(() => Conv2d(3, 8, 3, padding: 1), [1, 3, 9, 20]) { IsImage = true },
        ["convolution of many channels"] = new(() => Conv2d(24, 16, 3, padding: 1, stride: 2), [1, 24, 9, 7]) { IsImage = true },
        ["convolution of one pixel"] = new(() => Conv2d(33, 18, 1), [2, 33, 5, 7]) { IsImage = true },
        ["dilated convolution"] = new(() => Conv2d(8, 16, 3, dilation: 2, padding: 2), [1, 8, 9, 7]) { IsImage = true },
        ["grouped convolution"] = new(() => Conv2d(24, 48, 3, groups: 4, padding: 1), [1, 24, 6, 7]) { IsImage = true },
        ["depthwise convolution"] = new(() => Conv2d(16, 16, 3, padding: 1, groups: 16), [1, 16, 9, 7]) { IsImage = true },
        ["transposed convolution"] = new(() => ConvTranspose2d(8, 6, 3, stride: 2), [1, 8, 5, 4]) { IsImage = true },
        ["convolution of one axis"] = new(() => Conv1d(16, 12, 3, padding: 1), [2, 16, 11]) { IsImage = true },
        ["convolution and ReLU6"] = new(() => Sequential(Conv2d(3, 8, 3), BatchNorm2d(8), ReLU6(), Conv2d(8, 8, 1)), [1, 3, 9, 20]) { IsImage = true },
        ["images"] = new(() => new Images(), [2, 3, 17, 15]) { IsImage = true },
    };

    private static Tensor Rotate(Tensor x)
    {
        using var scope = NewDisposeScope();
        var angles = arange(5).unsqueeze(1) * arange(Width).unsqueeze(0) * 0.01;
        var halves = x.chunk(2, dim: -1);
        return (x * angles.cos().to(x.dtype) + cat([-halves[1], halves[0]], dim: -1) * angles.sin().to(x.dtype)).MoveToOuterDisposeScope();
    }

    /// <summary>Each token sees itself and those before: −∞ hides the others.</summary>
    private static Tensor HidingAttention(Tensor x)
    {
        using var scope = NewDisposeScope();
        var seen = ones(x.size(2), x.size(2), ScalarType.Bool).tril();
        return functional.scaled_dot_product_attention(x, x, x, zeros(x.size(2), x.size(2)).masked_fill(seen.logical_not(), float.NegativeInfinity).to(x.dtype)).MoveToOuterDisposeScope();
    }

    private sealed class OfFunction : Module<Tensor, Tensor>
    {
        private readonly Linear layer;
        private readonly Func<Tensor, Tensor> _before;

        internal OfFunction(Func<Tensor, Tensor> before, Linear layer) : base(nameof(OfFunction))
        {
            _before = before;
            this.layer = layer;
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) => layer.call(_before(x));
    }

    private sealed class Gate : Module<Tensor, Tensor>
    {
        private readonly Linear gate = Linear(Width, 96), up = Linear(Width, 96, hasBias: false), down = Linear(96, Width);

        internal Gate() : base(nameof(Gate)) => RegisterComponents();

        public override Tensor forward(Tensor x) => x + down.call(functional.silu(gate.call(x)) * up.call(x));
    }

    private sealed class HeadsModel : Module<Tensor, Tensor>
    {
        private readonly Linear query = Linear(Width, Width), key = Linear(Width, Width), value = Linear(Width, Width), outer = Linear(Width, Width);

        internal HeadsModel() : base(nameof(HeadsModel)) => RegisterComponents();

        public override Tensor forward(Tensor x)
        {
            Tensor Heads(Tensor t) => t.view(t.size(0), t.size(1), 2, -1).transpose(1, 2);
            var scores = matmul(Heads(query.call(x)), Heads(key.call(x)).transpose(-2, -1)) / 5.6;
            return x + outer.call(matmul(scores.softmax(-1), Heads(value.call(x))).transpose(1, 2).flatten(2));
        }
    }

    private sealed class Encoder : Module<Tensor, Tensor>
    {
        private readonly TransformerEncoderLayer layer = TransformerEncoderLayer(Width, 2, 96, 0);

        internal Encoder() : base(nameof(Encoder)) => RegisterComponents();

        public override Tensor forward(Tensor x) => layer.call(x);
    }

    private sealed class Recurrent : Module<Tensor, Tensor>
    {
        private readonly GRU layer = GRU(Width, 32);

        internal Recurrent() : base(nameof(Recurrent)) => RegisterComponents();

        public override Tensor forward(Tensor x) => layer.call(x).Item1;
    }

    /// <summary>Convolutions with what stands between them in networks of images.</summary>
    private sealed class Images : Module<Tensor, Tensor>
    {
        private readonly Conv2d first = Conv2d(3, 16, 3, padding: 1), second = Conv2d(16, 16, 3, padding: 1), third = Conv2d(16, 16, 3, padding: 1);
        private readonly BatchNorm2d norm = BatchNorm2d(16);
        private readonly Linear last = Linear(16, 5);

        internal Images() : base(nameof(Images)) => RegisterComponents();

        public override Tensor forward(Tensor x)
        {
            x = functional.max_pool2d(functional.relu(norm.call(first.call(x))), 3, 2, 1);
            x = functional.relu(x + third.call(functional.relu(second.call(x))));
            return last.call(functional.adaptive_avg_pool2d(x, [1L, 1L]).flatten(1));
        }
    }
}

/// <summary>A model and the input it takes.</summary>
/// <param name="Make">Makes it.</param>
/// <param name="Shape">The shape of its input.</param>
internal sealed record NotFiniteModel(Func<Module<Tensor, Tensor>> Make, long[] Shape)
{
    /// <summary>Whether it is made of convolutions, which have no tiles.</summary>
    internal bool IsImage { get; init; }

    /// <summary>Whether it multiplies activations with each other.</summary>
    internal bool IsOfActivations { get; init; }

    /// <summary>Whether it is looked at in float16 and bfloat16 as well.</summary>
    internal bool IsNarrowToo { get; init; }

    /// <summary>Whether all its contractions can be cut into tiles.</summary>
    internal bool HasTiles { get; init; } = true;

    /// <summary>Whether the model can be quantized so.</summary>
    internal bool Allows(QuantizationRule rule)
    {
        bool isAsymmetric = rule.ActCalibrationMethod is { Kind: CalibrationKind.MinMax };
        // Of two operands only one may have a zero point.
        return !(rule.TileSize is not null && (IsImage || !HasTiles)) && !(isAsymmetric && (IsOfActivations || rule.WeightCalibrationMethod.Kind == CalibrationKind.MinMax));
    }
}
