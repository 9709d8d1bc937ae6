using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops.Training;

/// <summary>Gradients of values that quantization can clip, against their definition in tensor ops.</summary>
public class GradientMaskTests
{
    /// <summary>Shape, channelwise axes, tiles of the last axis, type and method.</summary>
    public static TheoryData<long[], int[], int, string, string> Arrays => new()
    {
        { [6, 16], [0], 0, "int8", "absmax,0.6" },
        { [5, 37], [0], 0, "int4", "absmax,0.6" },
        { [7, 96], [0], 32, "int4", "absmax,0.6" },
        { [7, 21], [0], 3, "int8", "rms,1" },
        { [3, 5, 11], [], 0, "int8", "rms,1" },
        { [3, 5, 11], [1], 0, "int8", "absmax,0.5" },
        { [4, 6], [1], 0, "int8", "fixed,-0.5,0.75" },
        { [9, 33], [0], 0, "int8", "minmax,0.5" },
        { [9, 33], [0], 0, "fp8", "absmax,0.5" },
        { [9, 32], [0], 8, "nf4", "rms,1" },
        { [40, 1001], [], 0, "int4", "fixed,-1,1" },
        { [300, 257], [0], 0, "int8", "absmax,0.6" },
        { [1], [0], 0, "int8", "fixed,-0.01,0.01" },
        { [4, 0], [0], 0, "int8", "rms,1" },
    };

    [Theory]
    [MemberData(nameof(Arrays))]
    public void GradientsAndValuesAreThoseOfTheDefinition(long[] shape, int[] channelwise, int tile, string qtype, string method)
    {
        using var scope = NewDisposeScope();
        var how = How(shape, channelwise, tile, qtype, method);
        foreach (var dtype in new[] { ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float64 })
            foreach (bool isStrided in new[] { false, true })
            {
                var x = Sampled(shape, dtype, isStrided);
                var gradient = Sampled(shape, dtype, !isStrided);
                Check(x, gradient, how);
                // Of a sum, the gradient is one number that all elements share.
                Check(x, ones([1], dtype).expand(shape), how);
            }
    }

    [Fact]
    public void ValuesThatAreNotNumbersGetNoGradientAndTheBoundsDo()
    {
        using var scope = NewDisposeScope();
        var x = tensor(new[] { float.NaN, float.PositiveInfinity, float.NegativeInfinity, 0.5f, -0.5f, 0.50001f, 0, -0f, 0.25f, float.NaN, 1 }).reshape(1, 11);
        var gradient = tensor(new[] { 1f, 2, 3, float.NaN, 5, float.NaN, 7, 8, float.PositiveInfinity, float.NaN, 11 }).reshape(1, 11);
        var leaf = x.clone().requires_grad_(true);
        FakeQuantOp.Compute(leaf, How([1, 11], [], 0, "int8", "fixed,-0.5,0.5")).backward([gradient]);
        Assert.Equal([0, 0, 0, float.NaN, 5, 0, 7, 8, float.PositiveInfinity, 0, 0], leaf.grad!.data<float>().ToArray());
    }

    [Theory]
    [InlineData("fixed,-1,1")]
    [InlineData("absmax,0.5")]
    [InlineData("rms,1")]
    public void ProductsMaskTheirGradientsAsTheDefinitionDoes(string method)
    {
        using var scope = NewDisposeScope();
        foreach (var dtype in new[] { ScalarType.Float32, ScalarType.BFloat16 })
            // Of a matrix on the right with its contraction first, the scales do not follow memory.
            foreach (bool isTransposed in new[] { false, true })
            {
                Tensor x = randn([9, 23], dtype).requires_grad_(true), w = randn(isTransposed ? [23, 7] : [7, 23], dtype).requires_grad_(true);
                int contracted = isTransposed ? 0 : 1;
                var operand = new OperandSettings { QType = QType.Int8, Calibration = method! };
                var gradient = randn([9, 7], dtype);
                DotGeneralTraining.Compute(x, w, new([1], [contracted]), new() { Lhs = operand, Rhs = operand, UseOriginalResiduals = true }).backward([gradient]);

                Tensor plainW = w.detach(), wide = isTransposed ? plainW : plainW.t();
                var ofX = gradient.matmul(wide.t());
                var ofW = isTransposed ? x.detach().t().matmul(gradient) : gradient.t().matmul(x.detach());
                Assert.True(x.grad!.allclose(Masked(ofX, x.detach(), How([9, 23], [0], 0, "int8", method)), 1e-2, 1e-2));
                Assert.True(w.grad!.allclose(Masked(ofW, w.detach(), How(w.shape, [1 - contracted], 0, "int8", method)), 1e-2, 1e-2));
                Assert.True(w.grad!.eq(0).any().item<bool>());
            }
    }

    /// <summary>A gradient that two ops get is not written over by the one that masks it.</summary>
    [Theory]
    [InlineData("fixed,-0.1,0.1")]
    [InlineData("absmax")]
    public void GradientsOfOthersAreLeftAlone(string method)
    {
        using var scope = NewDisposeScope();
        Tensor x = randn(50, 70).requires_grad_(true), other = randn(50, 70).requires_grad_(true);
        (FakeQuantOp.Compute(x, How([50, 70], [0], 0, "int8", method)) + other).backward([ones(50, 70)]);
        Assert.True(other.grad!.eq(1).all().item<bool>());
        x.grad!.zero_();
        Assert.True(other.grad!.eq(1).all().item<bool>());
    }

    /// <summary>Another op may change the result in place.</summary>
    [Fact]
    public void ResultsCanBeChangedInPlace()
    {
        using var scope = NewDisposeScope();
        var x = randn(5, 9).requires_grad_(true);
        var y = FakeQuantOp.Compute(x, How([5, 9], [0], 0, "int8", "fixed,-1,1"));
        var positive = y.detach().gt(0);
        y.relu_().sum().backward();
        Assert.True(x.grad!.eq(positive.logical_and(x.detach().abs().le(1))).all().item<bool>());
    }

    [Theory]
    [InlineData("int8", "absmax,0.5", ScalarType.Float32)]
    [InlineData("int8", "absmax", ScalarType.Float32)]
    [InlineData("int4", "rms,1", ScalarType.Float32)]
    [InlineData("fp8", "fixed,-1,1", ScalarType.Float32)]
    [InlineData("int8", "rms,1", ScalarType.BFloat16)]
    public void NothingIsLeftBehind(string qtype, string method, ScalarType dtype)
    {
        using Tensor x = randn([8, 9], dtype).requires_grad_(true), w = randn([5, 9], dtype).requires_grad_(true);
        var how = How([8, 9], [0], 0, qtype, method);
        var operand = new OperandSettings { QType = how.QType, Calibration = how.Calibration };
        void Step()
        {
            using var y = FakeQuantOp.Compute(x, how);
            using var product = DotGeneralTraining.Compute(y, w, new([1], [1]), new() { Lhs = operand, Rhs = operand, UseOriginalResiduals = true });
            using var loss = product.sum();
            loss.backward();
        }

        Step();
        long before = DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        for (int i = 0; i < 20; i++)
            Step();
        Assert.Equal(before, DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount);
    }

    private static void Check(Tensor x, Tensor gradient, HowToQuantize how)
    {
        var leaf = x.detach().requires_grad_(true);
        var y = FakeQuantOp.Compute(leaf, how);
        y.backward([gradient]);
        using var range = Calibrator.Calibrate(x, how);
        var (scale, zeroPoint) = Calibrator.ComputeScaleZeroPoint(range, how.QType);
        Assert.True(y.equal(Quantizer.Quantize(x, how.QType, scale, zeroPoint).Dequantize()).all().item<bool>());
        Assert.True(leaf.grad!.equal(Masked(gradient, x, how)).all().item<bool>());
    }

    private static Tensor Masked(Tensor gradient, Tensor x, HowToQuantize how)
    {
        var range = Calibrator.Calibrate(x, how);
        var inside = GenericBroadcast.Apply((v, b) => v.le(b), x, range.Max ?? range.AbsMax!)
            .logical_and(GenericBroadcast.Apply((v, b) => v.ge(b), x, range.Min ?? -range.AbsMax!));
        return where(inside, gradient, zeros([], gradient.dtype));
    }

    private static Tensor Sampled(long[] shape, ScalarType dtype, bool isStrided)
    {
        int last = shape.Length - 1;
        return isStrided ? randn([.. shape.Reverse()], dtype).transpose(0, last) : randn(shape, dtype);
    }

    private static HowToQuantize How(long[] shape, int[] channelwise, int tile, string qtype, string method) => new()
    {
        QType = QType.Parse(qtype),
        ChannelwiseAxes = channelwise,
        TiledAxes = tile == 0 ? new Dictionary<int, TileSize>() : new() { [shape.Length - 1] = tile },
        Calibration = method!,
    };
}
