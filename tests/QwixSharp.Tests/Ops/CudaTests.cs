using QwixSharp.Arrays;
using QwixSharp.Ops;
using QwixSharp.Providers;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops;

/// <summary>On a GPU everything is computed there, and gives what the CPU gives.</summary>
public class CudaTests
{
    private static readonly DotDimensionNumbers Linear = new([1], [1]);

    public CudaTests() => Assert.SkipUnless(cuda.is_available(), "There is no GPU that libtorch can use here; it is TorchSharp-cpu, or the machine has none.");

    [Theory]
    [InlineData("int8", null)]
    [InlineData("int4", 32)]
    [InlineData("nf4", 32)]
    [InlineData("float8_e4m3fn", null)]
    public void AWeightOnlyProductStaysOnTheDevice(string qtype, int? tile)
    {
        using var scope = NewDisposeScope();
        Tensor x = Random(1, 5, 96), w = Random(2, 40, 96);
        Compare(x, w, (a, b) => Qwix.DotGeneral(a, Quantize(b, qtype, tile), Linear), exact: false);
    }

    [Theory]
    [InlineData("int8", null)]
    [InlineData("int4", 32)]
    public void AProductOfCodesStaysOnTheDeviceAndIsExact(string qtype, int? tile)
    {
        using var scope = NewDisposeScope();
        Tensor x = Random(3, 5, 96), w = Random(4, 40, 96);
        Compare(x, w, (a, b) => Qwix.DotGeneral(Quantize(a, "int8", null), Quantize(b, qtype, tile), Linear), exact: tile is null);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(8)]
    public void AConvolutionOfCodesStaysOnTheDeviceAndIsExact(int groups)
    {
        using var scope = NewDisposeScope();
        Tensor x = Random(5, 2, 8, 9, 9), w = Random(6, 16, 8 / groups, 3, 3);
        var layouts = ConvDimensionNumbers.ChannelsFirst(2);
        Compare(
            x, w,
            (a, b) => Qwix.ConvGeneralDilated(
                Quantizer.Quantize(a, ConvGeneralOp.HowToQuantize(layouts, true, "int8")),
                Quantizer.Quantize(b, ConvGeneralOp.HowToQuantize(layouts, false, "int8")),
                [1, 1], ConvPadding.Explicit((1, 1), (1, 1)), featureGroupCount: groups),
            exact: true);
    }

    [Theory]
    [InlineData("int8", null)]
    [InlineData("int8", "int8")]
    public void AQuantizedModelStaysOnTheDevice(string weights, string? activations)
    {
        using var scope = NewDisposeScope();
        using var model = nn.Sequential(("first", nn.Linear(32, 64)), ("relu", nn.ReLU()), ("second", nn.Linear(64, 8)));
        var x = Random(7, 4, 32);
        var rule = new QuantizationRule { WeightQType = weights, ActQType = activations };
        using var onCpu = Qwix.QuantizeModel(model, new PtqProvider([rule]), x);
        var expected = onCpu.call(x);
        model.to(CUDA);

        using var onDevice = Qwix.QuantizeModel(model, new PtqProvider([rule]), x.cuda());
        var actual = onDevice.call(x.cuda());

        Assert.Equal(DeviceType.CUDA, actual.device_type);
        Assert.True(actual.cpu().allclose(expected, rtol: 1e-3, atol: 1e-4));
    }

    private static void Compare(Tensor x, Tensor w, Func<Tensor, Tensor, Tensor> compute, bool exact)
    {
        var expected = compute(x, w);
        var actual = compute(x.cuda(), w.cuda());
        Assert.Equal(DeviceType.CUDA, actual.device_type);
        Assert.True(exact ? actual.cpu().equal(expected).all().item<bool>() : actual.cpu().allclose(expected, rtol: 1e-4, atol: 1e-4));
    }

    private static QArray Quantize(Tensor x, string qtype, int? tile) =>
        Qwix.Quantize(x, qtype, [0], tile is { } size ? new Dictionary<int, TileSize> { [1] = size } : null);

    private static Tensor Random(long seed, params long[] shape) => ProductChecks.Random((int)seed, shape).to(ScalarType.Float32);
}
