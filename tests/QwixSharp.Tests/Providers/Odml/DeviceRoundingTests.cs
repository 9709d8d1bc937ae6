using QwixSharp.Providers;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers.Odml;

/// <summary>The conversion model rounds where LiteRT's kernels do.</summary>
public class DeviceRoundingTests
{
    [Theory]
    [InlineData("average pool")]
    [InlineData("adaptive average pool")]
    [InlineData("interpolation")]
    public void AveragesAreCodesAgain(string name)
    {
        using var scope = NewDisposeScope();
        var x = rand(2, 3, 4, 4);
        var (device, quant) = Converted(x, (_, t) => Average(name, t.view(-1, 3, 4, 4)), roundAsDevice: true);
        var steps = device / quant.Scale[0];
        Assert.True(steps.allclose(steps.round(), atol: 1e-4));
        var (reference, _) = Converted(x, (_, t) => Average(name, t.view(-1, 3, 4, 4)), roundAsDevice: false);
        Assert.InRange((device - reference).abs().max().item<float>(), quant.Scale[0] / 100, quant.Scale[0] * 0.501f);
    }

    /// <summary>Code c and c + 1 have the average c + ½.</summary>
    [Fact]
    public void TiesGoAwayFromCodeZero()
    {
        using var scope = NewDisposeScope();
        // From 0 to 255 the scale is 1 and the zero point −128: code zero is 128.
        var x = tensor(new float[] { 0, 255, 10, 11, 200, 201 }).view(1, 1, 6);
        var (device, quant) = Converted(x, (_, t) => functional.avg_pool1d(t, 2), roundAsDevice: true);
        Assert.Equal((1f, -128L), (quant.Scale[0], quant.ZeroPoint![0]));
        Assert.Equal([127f, 10, 201], device.data<float>().ToArray());
    }

    [Fact]
    public void StepsAreRoundedBeforeTheZeroPointIsAdded()
    {
        using var scope = NewDisposeScope();
        // From −1 to 254 the zero point is −127: 2½ steps are code −124.5, which would be −124 and 3 steps if rounded after.
        var x = tensor(new float[] { -1, 254, 2.5f, 3.5f }).view(1, 4);
        var (device, quant) = Converted(x, (_, t) => t.abs(), roundAsDevice: true, take: 0);
        Assert.Equal((1f, -127L), (quant.Scale[0], quant.ZeroPoint![0]));
        var codes = QwixSharp.Providers.Odml.DeviceRounding.FakeQuantize(x, quant.QType, tensor([.. quant.Scale]), tensor([.. quant.ZeroPoint]));
        Assert.Equal([-1f, 254, 2, 4], codes.data<float>().ToArray());
    }

    /// <summary>Two inputs that cancel leave the bias: the sums' steps are wide then, and the result's narrow.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void BiasesAreWholeStepsOfTheSums(bool normalized)
    {
        using var scope = NewDisposeScope();
        var (bias, factor, offset) = (tensor(new[] { -0.3f, 0.0123f, 0.0456f, 0.3f }), normalized ? 1.5f : 1, normalized ? 0.01f : 0);
        using var model = new Functional(tensor(new[] { 0.5f, -0.5f, 1 }).view(1, 3, 1, 1).repeat(4, 1, 1, 1), (m, t) =>
        {
            var y = functional.conv2d(t, m.W, bias);
            return normalized ? functional.batch_norm(y, zeros(4), ones(4), full(4, factor), full(4, offset), eps: 0) : y;
        });
        var wave = linspace(-200, 200, 4).view(1, 1, 2, 2);
        var (_, device, provider) = OnDevice.Convert(model, cat([wave, wave, zeros_like(wave)], 1), OnDevice.Int8);
        float step = provider.FakeQuants[0].Scale[0] * provider.FakeQuants[1].Scale[0] * factor, resultStep = provider.FakeQuants[^1].Scale[0];
        Assert.True(step > 3 * resultStep);
        var expected = (((bias * factor) + offset) / step).round() * step;
        // The outer two may be cut off.
        Assert.InRange((device.select(0, 0).select(1, 0).select(1, 0) - expected)[1..3].abs().max().item<float>(), 0, resultStep * 0.51f);
    }

    private static Tensor Average(string name, Tensor x) => name switch
    {
        "average pool" => functional.avg_pool2d(x, 2),
        "adaptive average pool" => functional.adaptive_avg_pool2d(x, [2, 2]),
        _ => functional.interpolate(x, [8, 8], mode: InterpolationMode.Bilinear, align_corners: false),
    };

    private static (Tensor Device, FakeQuantAnnotation Quant) Converted(Tensor x, Func<Functional, Tensor, Tensor> forward, bool roundAsDevice, int take = 0)
    {
        using var model = new Functional(rand(8, 8), forward);
        using var qat = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8), x);
        OnDevice.Calibrate(qat, x);
        var provider = new OdmlConversionProvider(OnDevice.Int8, model.state_dict(), qat.QuantStats, roundAsDevice: roundAsDevice);
        using var conversion = Qwix.QuantizeModel(model, provider, x);
        return (conversion.call(x), provider.FakeQuants[take]);
    }
}
