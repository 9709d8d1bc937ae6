using QwixSharp.Calibration;
using QwixSharp.Providers;
using QwixSharp.Rules;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>Models on the meta device: quantized without their weights, filled a layer at a time, and then run.</summary>
public class AbstractModelTests
{
    private static readonly Dictionary<string, QuantizationRule> Schemes = new()
    {
        ["weight-only"] = new() { WeightQType = "int8" },
        ["tiles"] = new() { WeightQType = "int4", TileSize = 8, OpNames = [OpNames.DotGeneral] },
        ["dynamic"] = new() { WeightQType = "int8", ActQType = "int8" },
        ["asymmetric weights"] = new() { WeightQType = "int8", WeightCalibrationMethod = "minmax" },
        ["static"] = new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = true },
        ["nf4"] = new() { WeightQType = "nf4" },
    };

    public static IEnumerable<TheoryDataRow<string>> Names() => Schemes.Keys.Select(n => new TheoryDataRow<string>(n));

    [Theory]
    [MemberData(nameof(Names))]
    public void FilledALayerAtATimeItEqualsTheQuantizedModel(string scheme)
    {
        using var scope = NewDisposeScope();
        using var real = new Everything(CPU);
        using var onMeta = new Everything(META);
        real.eval();
        onMeta.eval();
        var image = randn(2, 3, 8, 8);
        using var direct = Qwix.QuantizeModel(real, new PtqProvider([Schemes[scheme]]), image);
        using var filled = Qwix.QuantizeModel(onMeta, new PtqProvider([Schemes[scheme]]), image);
        Assert.All(filled.state_dict().Values, t => Assert.Equal(TorchSharp.DeviceType.META, t.device_type));
        Assert.Equal(direct.state_dict().Keys.Order(), filled.state_dict().Keys.Order());

        using var stats = Stats(direct);
        foreach (var layer in real.state_dict().GroupBy(p => p.Key[..p.Key.LastIndexOf('.')]))
            filled.load_state_dict(Qwix.QuantizeParams(layer.ToDictionary(p => p.Key, p => p.Value), filled), strict: false);
        filled.load_state_dict(Qwix.QuantizeParams(new Dictionary<string, Tensor>(), filled, stats), strict: false);

        foreach (var (name, tensor) in direct.state_dict())
        {
            if (!name.Contains("_lhs_") && !name.Contains("_rhs_"))
                Golden.GoldenValue.AssertBits(name, tensor, filled.state_dict()[name]);
        }

        Golden.GoldenValue.AssertClose(direct.call(image), filled.call(image), 1e-5);
    }

    [Fact]
    public void StrictLoadingOfAWholeStateWorks()
    {
        using var scope = NewDisposeScope();
        using var real = new Everything(CPU);
        using var onMeta = new Everything(META);
        real.eval();
        onMeta.eval();
        var image = randn(2, 3, 8, 8);
        var provider = new PtqProvider([new() { WeightQType = "int8" }]);
        using var filled = Qwix.QuantizeModel(onMeta, provider, image);
        filled.load_state_dict(Qwix.QuantizeParams(real.state_dict(), filled));
        Assert.True(Golden.GoldenValue.Snr(real.call(image), filled.call(image)) > 25);
    }

    /// <summary>Statistics that give the scales the other model took from its first input.</summary>
    private static QuantStats Stats(IQuantizedModel model)
    {
        var tensors = new Dictionary<string, Tensor>();
        foreach (var (name, scale) in ((Module)model).state_dict().Where(p => p.Key.EndsWith("_lhs_scale") || p.Key.EndsWith("_rhs_scale")))
        {
            var place = name[..^"_scale".Length];
            tensors[place + ".count"] = tensor(1);
            tensors[place + ".sum_of_absmax"] = scale * 127.5f;
        }

        return QuantStats.FromTensors(tensors);
    }

    /// <summary>Convolutions plain and transposed, batch norm, layer norm, ReLU, attention, linear layers.</summary>
    private sealed class Everything : Module<Tensor, Tensor>
    {
        private readonly Conv2d conv;
        private readonly BatchNorm2d bn;
        private readonly ConvTranspose2d up;
        private readonly LayerNorm norm;
        private readonly Linear qkv;
        private readonly Linear head;

        public Everything(Device device) : base("everything")
        {
            conv = Conv2d(3, 16, 3, padding: 1, device: device);
            bn = BatchNorm2d(16, device: device);
            up = ConvTranspose2d(16, 16, 2, stride: 2, device: device);
            norm = LayerNorm(16, device: device);
            qkv = Linear(16, 48, device: device);
            head = Linear(16, 10, device: device);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            x = up.call(functional.relu(bn.call(conv.call(x))));
            x = norm.call(x.flatten(2).transpose(1, 2));
            var parts = qkv.call(x).chunk(3, -1);
            x = x + functional.scaled_dot_product_attention(parts[0], parts[1], parts[2]);
            return head.call(x.mean([1L]));
        }
    }
}
