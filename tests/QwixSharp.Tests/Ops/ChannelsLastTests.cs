using QwixSharp.Arrays;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops;

/// <summary>Convolutions of codes that have their channels last in memory: the kernel reads them where they lie.</summary>
public class ChannelsLastTests
{
    [Theory]
    [InlineData(1, "absmax")]
    [InlineData(1, "minmax")]
    [InlineData(24, "absmax")]
    [InlineData(24, "minmax")]
    public void GiveTheSameAsChannelsFirst(int groups, string calibration)
    {
        using var scope = NewDisposeScope();
        Tensor image = ProductChecks.Random(1, 3, 24, 9, 10), kernel = ProductChecks.Random(2, 24, 24 / groups, 3, 3);
        ConvDimensionNumbers first = ("NCHW", "OIHW", "NCHW"), last = ("NHWC", "OIHW", "NHWC");
        var w = Quantizer.Quantize(kernel.to(ScalarType.Float32), ConvGeneralOp.HowToQuantize(first, false, "int8"));
        var x = image.to(ScalarType.Float32);

        var expected = Convolve(x, first);
        var actual = Convolve(x.permute(0, 2, 3, 1).contiguous(), last);

        Assert.True(actual.permute(0, 3, 1, 2).equal(expected).all().item<bool>());

        Tensor Convolve(Tensor input, ConvDimensionNumbers layouts)
        {
            var codes = Quantizer.Quantize(input, ConvGeneralOp.HowToQuantize(layouts, true, "int8", calibration: calibration));
            return Qwix.ConvGeneralDilated(codes, w, [1, 2], ConvPadding.Explicit((1, 1), (1, 0)), dimensionNumbers: layouts, featureGroupCount: groups);
        }
    }
}
