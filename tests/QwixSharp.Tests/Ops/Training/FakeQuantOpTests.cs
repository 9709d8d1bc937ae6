using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops.Training;

public class FakeQuantOpTests
{
    [Theory]
    [InlineData("int8", "absmax", 0)]
    [InlineData("int4", "minmax", 0)]
    [InlineData("int4", "rms,1.5", 8)]
    [InlineData("fp8", "absmax,0.5", 0)]
    [InlineData("nf4", "absmax", 8)]
    [InlineData("int8", "fixed,-0.5,1", 0)]
    public void ValuesAreThoseOfQuantizationAndGradientsPassInsideTheRange(string qtype, string method, int tile)
    {
        using var scope = NewDisposeScope();
        var x = randn(6, 16).requires_grad_(true);
        CalibrationMethod calibration = method;
        var how = new HowToQuantize
        {
            QType = QType.Parse(qtype),
            ChannelwiseAxes = [0],
            TiledAxes = tile == 0 ? new Dictionary<int, TileSize>() : new() { [1] = tile },
            Calibration = calibration,
        };
        var gradient = randn(6, 16);

        var y = FakeQuantOp.Compute(x, how);
        y.backward([gradient]);

        Assert.True(y.eq(Quantizer.Quantize(x.detach(), how).Dequantize()).all().item<bool>());
        var range = Calibrator.Calibrate(x, how);
        bool canClip = calibration.Kind is CalibrationKind.Rms or CalibrationKind.Fixed || calibration.Factor < 1;
        var inside = GenericBroadcast.Apply((v, b) => v.le(b), x, range.Max ?? range.AbsMax!)
            .logical_and(GenericBroadcast.Apply((v, b) => v.ge(b), x, range.Min ?? -range.AbsMax!));
        Assert.Equal(canClip, inside.logical_not().any().item<bool>());
        Assert.True(x.grad!.eq(gradient * inside).all().item<bool>());
    }

    [Fact]
    public void WithoutAGradientNothingIsRecorded()
    {
        using var x = randn(4, 4);
        using var y = FakeQuantOp.Compute(x, new HowToQuantize { QType = QType.Int8 });
        Assert.False(y.requires_grad);
    }

    [Fact]
    public void NothingIsLeftBehind()
    {
        using var x = randn(8, 8).requires_grad_(true);
        var how = new HowToQuantize { QType = QType.Int8, Calibration = "absmax,0.5" };
        void Step()
        {
            using var y = FakeQuantOp.Compute(x, how);
            using var loss = y.sum();
            loss.backward();
        }

        Step();
        long before = DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        for (int i = 0; i < 20; i++)
            Step();
        Assert.Equal(before, DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount);
    }
}
