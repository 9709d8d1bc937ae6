using QwixSharp.Arrays;
using QwixSharp.Kernels.Activations;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops;

/// <summary>Linear layers in the kernels' form, one at a time and several of one input.</summary>
public class PackedLinearTests
{
    private const int Depth = 64;

    [Theory]
    [InlineData("int8", null)]
    [InlineData("int4", 32)]
    public void AGroupGivesWhatEachLayerGivesAlone(string qtype, int? tile)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        PackedLinear[] layers = [Layer(48, qtype, tile), Layer(16, qtype, tile), Layer(17, qtype, tile)];
        Tensor?[] biases = [randn(48), null, randn(17)];
        foreach (var x in new[] { randn(Depth), randn(1, 1, Depth), randn(3, Depth, 5).transpose(1, 2), randn(40, Depth) })
        {
            var results = new Tensor[3];
            Assert.True(TryComputeGroup(x, layers, biases, results));
            for (int i = 0; i < 3; i++)
            {
                var alone = layers[i].TryCompute(x, biases[i])!;
                Assert.Equal(alone.shape, results[i].shape);
                Assert.True(alone.equal(results[i]).all().item<bool>());
                Assert.Equal([.. x.shape[..^1], i switch { 0 => 48, 1 => 16, _ => 17 }], alone.shape);
            }
        }
    }

    [Fact]
    public void LayersOfOtherKindsAreComputedOneAfterAnother()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        PackedLinear[] layers = [Layer(16, "int8", null), Layer(16, "int4", 32), Layer(16, "int8", null, act: null)];
        Assert.All(layers[1..], layer => Assert.False(layer.CanGroupWith(layers[0])));
        var x = randn(2, Depth);
        var results = new Tensor[3];
        Assert.True(TryComputeGroup(x, layers, new Tensor?[3], results));
        for (int i = 0; i < 3; i++)
            Assert.True(layers[i].TryCompute(x, null)!.equal(results[i]).all().item<bool>());
    }

    [Fact]
    public void AnInputThatKernelsCannotReadIsLeftToTheGeneralWay()
    {
        using var scope = NewDisposeScope();
        var layer = Layer(16, "int8", null);
        Assert.Null(layer.TryCompute(randn(2, Depth + 1), null));
        Assert.Null(layer.TryCompute(randn(0, Depth), null));
        Assert.Null(layer.TryCompute(zeros(2, Depth, ScalarType.Float64), null));
        Assert.Null(layer.TryCompute(tensor(1f), null));
        Assert.False(TryComputeGroup(randn(2, Depth).requires_grad_(), [layer, layer], new Tensor?[2], new Tensor[2]));
        Assert.False(TryComputeGroup(randn(2, Depth), [layer, layer], [null, zeros(16, ScalarType.Float64)], new Tensor[2]));
    }

    [Fact]
    public unsafe void CodesMadeBeforehandGiveTheSame()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        PackedLinear[] layers = [Layer(48, "int4", 32), Layer(16, "int4", 32)];
        var x = randn(1, 1, Depth);
        var expected = new Tensor[2];
        Assert.True(TryComputeGroup(x, layers, new Tensor?[2], expected));

        int tile = layers[0].Weight!.TileSize;
        var values = (float*)TensorMemory.Address(x);
        sbyte* codes = stackalloc sbyte[Depth];
        float* scales = stackalloc float[Depth / tile];
        Assert.True(layers[0].ScalePerTile);
        for (int i = 0; i < Depth / tile; i++)
        {
            scales[i] = RowQuantizer.Scale(RowQuantizer.AbsMax(values + (i * tile), tile), CodeRange.OfBits(layers[0].ActBits));
            RowQuantizer.Quantize(values + (i * tile), tile, scales[i], 0, CodeRange.OfBits(layers[0].ActBits), codes + (i * tile));
        }

        var results = new[] { empty(1, 1, 48), empty(1, 1, 16) };
        var input = new QuantizedInput { Source = QuantizedSource.Codes, Values = (nint)codes, RowStride = Depth, Rows = 1, Scales = (nint)scales, ScaleRowStride = Depth / tile, ScalePerTile = true };
        PackedLinear.ComputeGroup(input, layers, new Tensor?[2], Array.ConvertAll(results, TensorMemory.Address));
        for (int i = 0; i < 2; i++)
            Assert.True(expected[i].equal(results[i]).all().item<bool>());
    }

    private static bool TryComputeGroup(Tensor input, PackedLinear[] layers, Tensor?[] biases, Tensor[] results)
    {
        var x = StridedTensor.Of(input.contiguous());
        if (!PackedLinear.CanComputeGroup(x, layers, biases))
            return false;
        for (int i = 0; i < layers.Length; i++)
            results[i] = empty([.. x.Shape[..^1], layers[i].Weight!.Rows]);
        PackedLinear.ComputeGroup(x, layers, biases, Array.ConvertAll(results, TensorMemory.Address));
        return true;
    }

    private static PackedLinear Layer(int rows, string qtype, int? tile, string? act = "int8")
    {
        var how = new HowToQuantize { QType = QType.Parse(qtype), ChannelwiseAxes = [0], TiledAxes = tile is { } size ? new Dictionary<int, TileSize> { [1] = size } : new Dictionary<int, TileSize>() };
        return PackedLinear.TryMake(PackedForm.TryQuantize(randn(rows, Depth), how)!, act is null ? null : QType.Parse(act), tile is not null)!;
    }
}
