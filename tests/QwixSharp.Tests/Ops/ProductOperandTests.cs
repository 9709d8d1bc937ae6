using QwixSharp.Arrays;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops;

/// <summary>The canonical form is what kernels build on: code · scale by tiles is the dequantized operand.</summary>
public class ProductOperandTests
{
    [Theory]
    [InlineData(new int[0], new[] { 0 }, new[] { 1, 2, 3 }, true)]
    [InlineData(new[] { 3 }, new[] { 1 }, new[] { 2, 0 }, false)]
    [InlineData(new[] { 2 }, new[] { 3, 1 }, new[] { 0 }, false)]
    [InlineData(new int[0], new int[0], new[] { 3, 2, 1, 0 }, false)]
    public void PartsMakeTheWhole(int[] batch, int[] free, int[] contracting, bool inOrder)
    {
        using var scope = NewDisposeScope();
        var axes = new AxisGroups(batch, free, contracting);
        Assert.Equal(inOrder, axes.InOrder);
        var array = Qwix.Quantize(ProductChecks.Random(1, 4, 6, 2, 8), "int4", [1], new Dictionary<int, TileSize> { [0] = 2, [3] = 4 }, "minmax");
        var operand = new ProductOperand(array, axes);
        Assert.Same(array, operand.Quantized);

        var codes = operand.CodeValues(ScalarType.Float32);
        var scales = operand.Scales(operand.Tile);
        var whole = codes * scales.repeat_interleave(operand.Tile, 2);

        Assert.Equal([operand.Batch, operand.Rows, operand.Depth], codes.shape);
        ProductChecks.AssertEqual(operand.Values(ScalarType.Float32), whole);
        var plain = CodesIn(array, axes);
        var zeroPoints = operand.ZeroPoints(operand.Tile)!.to(ScalarType.Float32);
        ProductChecks.AssertEqual(codes, plain - zeroPoints.repeat_interleave(operand.Tile, 2));
    }

    [Fact]
    public void SharedScalesStaySmall()
    {
        using var scope = NewDisposeScope();
        var array = Qwix.Quantize(ProductChecks.Random(1, 4, 6, 8), "int8", [1]);
        var operand = new ProductOperand(array, new AxisGroups([0], [1], [2]));
        Assert.Equal([1, 6, 1], operand.Scales(8).shape);
        Assert.Equal([1, 6, 4], operand.Scales(2).shape);
        Assert.Null(operand.ZeroPoints(8));
        Assert.Equal(8, operand.Tile);
    }

    private static Tensor CodesIn(QArray array, AxisGroups axes)
    {
        var codes = array.GetQValue().to(ScalarType.Float32).permute(axes.Order);
        long Size(int[] group) => group.Aggregate(1L, (size, axis) => size * array.Shape[axis]);
        return codes.reshape(Size(axes.Batch), Size(axes.Free), Size(axes.Contracting));
    }
}
