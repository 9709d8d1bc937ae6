using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using QwixSharp.Ops.Training;
using QwixSharp.Providers;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops.Training;

public class TrainedProductTests
{
    public static TheoryData<string, string> Products => new()
    {
        { "int8", "int8" }, { "int4", "int8" }, { "int8", "" }, { "fp8", "fp8" }, { "", "int8" },
    };

    /// <summary>
    /// The surrogate that the straight-through estimator differentiates: the product of the operands as they are. Its
    /// value is not what the forward pass gives, but its differences are what the gradient has to be.
    /// </summary>
    [Theory]
    [MemberData(nameof(Products))]
    public void GradientsAreThoseOfTheSurrogate(string lhsType, string rhsType)
    {
        using var scope = NewDisposeScope();
        Tensor x = randn([2, 3, 5, 4], ScalarType.Float64).requires_grad_(true), y = randn([3, 4, 6, 2], ScalarType.Float64).requires_grad_(true), weight = randn([2, 3, 5, 6], ScalarType.Float64);
        var numbers = new DotDimensionNumbers([3], [1], [0, 1], [3, 0]);
        var settings = new TrainingSettings { Lhs = Operand(lhsType), Rhs = Operand(rhsType), UseOriginalResiduals = true };
        double Surrogate() => (DotGeneralOp.Compute(x.detach(), y.detach(), numbers, null) * weight).sum().item<double>();

        (DotGeneralTraining.Compute(x, y, numbers, settings) * weight).sum().backward();

        foreach (var operand in new[] { x, y })
        {
            var flat = operand.detach().reshape(-1);
            var gradient = operand.grad!.reshape(-1);
            for (long i = 0; i < flat.shape[0]; i += 7)
            {
                const double Step = 1e-4;
                flat[i] += Step;
                double above = Surrogate();
                flat[i] -= 2 * Step;
                double below = Surrogate();
                flat[i] += Step;
                Assert.Equal((above - below) / (2 * Step), gradient[i].item<double>(), 1e-6);
            }
        }
    }

    [Theory]
    [InlineData("absmax,0.6", false)]
    [InlineData("rms,1", false)]
    [InlineData("fixed,-1,1", true)]
    public void GradientsAreMaskedOutsideTheRange(string method, bool disabled)
    {
        using var scope = NewDisposeScope();
        Tensor x = randn(6, 8).requires_grad_(true), w = randn(5, 8).requires_grad_(true);
        CalibrationMethod calibration = method;
        var operand = new OperandSettings { QType = QType.Int8, Calibration = calibration };
        var settings = new TrainingSettings { Lhs = operand, Rhs = operand, UseOriginalResiduals = true, DisableGradientClipping = disabled };
        DotGeneralTraining.Compute(x, w, new([1], [1]), settings).sum().backward();

        var plain = ones(6, 5).matmul(w.detach());
        using var range = Calibrator.Calibrate(x, new HowToQuantize { QType = QType.Int8, ChannelwiseAxes = [0], Calibration = calibration });
        var inside = x.detach().abs().le(range.AbsMax!);
        Assert.True(inside.logical_not().any().item<bool>());
        Assert.True(x.grad!.allclose(disabled ? plain : plain * inside, 1e-5, 1e-5));
    }

    /// <summary>Without quantized gradients, a convolution's are those of a plain one on the rounded operands.</summary>
    [Theory]
    [InlineData(1, 1, 1, 0, 0, 1, false, 0)]
    [InlineData(2, 2, 1, 1, 1, 1, false, 0)]
    [InlineData(2, 1, 2, 2, 2, 2, false, 0)]
    [InlineData(2, 2, 1, 0, 1, 1, false, 0)]
    [InlineData(3, 1, 1, 1, 1, 4, false, 0)]
    [InlineData(1, 2, 1, 1, 1, 1, true, 1)]
    [InlineData(2, 2, 1, 0, 0, 2, true, 0)]
    [InlineData(3, 1, 2, 1, 1, 1, true, 0)]
    public void ConvolutionsHaveTheGradientsOfTheirRoundedOperands(int axes, long stride, long dilation, long low, long high, long groups, bool transposed, long outputPadding)
    {
        using var scope = NewDisposeScope();
        long[] spatial = [.. Enumerable.Repeat(7L, axes)], window = [.. Enumerable.Repeat(3L, axes)];
        long[] kernelShape = transposed ? [4, 8 / groups, .. window] : [8, 4 / groups, .. window];
        Tensor x = randn([2, 4, .. spatial]).requires_grad_(true), w = randn(kernelShape).requires_grad_(true);
        long[] strides = [.. Enumerable.Repeat(stride, axes)], dilations = [.. Enumerable.Repeat(dilation, axes)], extra = [.. Enumerable.Repeat(outputPadding, axes)];
        (long, long)[] padding = [.. Enumerable.Repeat((low, high), axes)];
        var call = new ConvolutionCall(strides, padding, dilations, groups, transposed, extra);
        var operand = new OperandSettings { QType = QType.Int8 };
        var gradient = new ConvolutionGradient(strides, padding, dilations, groups, transposed, extra);
        var y = ConvGeneralTraining.Compute(x, w, (a, b) => PtqProvider.Convolve(a, b, call), gradient, new() { Lhs = operand, Rhs = operand });
        var weight = randn(y.shape);
        (y * weight).sum().backward();

        Tensor x2 = x.detach().clone().requires_grad_(true), w2 = w.detach().clone().requires_grad_(true);
        var rounded = FakeQuantOp.Compute(x2, new() { QType = QType.Int8, ChannelwiseAxes = [0] });
        var kernel = FakeQuantOp.Compute(w2, new() { QType = QType.Int8, ChannelwiseAxes = [transposed ? 1 : 0] });
        var expected = PtqProvider.Convolve(rounded, kernel, call);
        (expected * weight).sum().backward();
        Assert.True(y.allclose(expected, 1e-4, 1e-4));
        Assert.True(x.grad!.allclose(x2.grad!, 1e-4, 1e-4));
        Assert.True(w.grad!.allclose(w2.grad!, 1e-4, 1e-4));
    }

    [Fact]
    public void QuantizedGradientsOfConvolutionsAreNearThePlainOnes()
    {
        using var scope = NewDisposeScope();
        Tensor x = randn(4, 4, 9, 9).requires_grad_(true), w = randn(8, 2, 3, 3).requires_grad_(true);
        var call = new ConvolutionCall([2, 1], [(1, 1), (0, 0)], [1, 2], 2, false, [0, 0]);
        var operand = new OperandSettings { QType = QType.Int8 };
        var quantized = new GradientSettings { QType = QType.Int8 };
        var y = ConvGeneralTraining.Compute(
            x, w, (a, b) => PtqProvider.Convolve(a, b, call), new([2, 1], [(1, 1), (0, 0)], [1, 2], 2, false, [0, 0]),
            new() { Lhs = operand, Rhs = operand, LhsGradient = quantized, RhsGradient = quantized });
        var weight = randn(y.shape);
        (y * weight).sum().backward();
        Tensor ofX = x.grad!.clone(), ofW = w.grad!.clone();
        (x.grad, w.grad) = (null, null);
        (nn.functional.conv2d(x, w, null, [2L, 1], [1L, 0], [1L, 2], 2) * weight).sum().backward();
        Assert.InRange(Golden.GoldenValue.Snr(x.grad!, ofX), 30, 60);
        Assert.InRange(Golden.GoldenValue.Snr(w.grad!, ofW), 30, 60);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void NoiseIsUniformAndItsMeanIsZero(bool lowBit)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(7);
        long[] shape = [400, 5];
        var noise = lowBit ? StochasticRounding.LowBitUniform(shape, [0], generator, CPU) : StochasticRounding.Uniform(shape, [0], generator, CPU);
        Assert.Equal([400, 1], noise.shape);
        Assert.InRange(noise.min().item<float>(), -0.5f, -0.45f);
        Assert.InRange(noise.max().item<float>(), 0.45f, 0.5f);
        Assert.InRange(noise.mean().item<float>(), -0.05f, 0.05f);
        if (lowBit)
            Assert.True((((noise + 0.5f) * 256) - 0.5f).frac().eq(0).all().item<bool>());
    }

    private static OperandSettings Operand(string qtype) => qtype.Length == 0 ? OperandSettings.Plain : new() { QType = QType.Parse(qtype) };
}
