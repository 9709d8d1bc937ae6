using QwixSharp.Arrays;
using QwixSharp.Ops;

namespace QwixSharp.Tests.Ops;

public class HowOpsQuantizeTests
{
    private static readonly DotDimensionNumbers Attention = new([3, 1], [3, 2], [0], [0]);

    [Fact]
    public void DotGeneralTilesTheLastContractingAxisOfItsNumbers()
    {
        var how = DotGeneralOp.HowToQuantize(Attention, 4, 5, forLhs: true, "int4", 32, "minmax");
        Assert.Equal([0, 2], how.ChannelwiseAxes);
        Assert.Equal([new(1, new TileSize(32L))], how.TiledAxes);
        Assert.Equal("int4", how.QType.Name);
        Assert.Equal(CalibrationKind.MinMax, how.Calibration.Kind);
        how = DotGeneralOp.HowToQuantize(Attention, 4, 5, forLhs: false, "int8");
        Assert.Equal([0, 1, 4], how.ChannelwiseAxes);
        Assert.Empty(how.TiledAxes);
    }

    [Fact]
    public void EinsumTilesTheLastContractedAxisOfTheOperand()
    {
        var how = EinsumOp.HowToQuantize("...hd,dhf->...f", 4, 3, forLhs: true, "int4", 0.25);
        Assert.Equal([0, 1], how.ChannelwiseAxes);
        Assert.Equal([new(3, new TileSize(0.25))], how.TiledAxes);
        how = EinsumOp.HowToQuantize("...hd,dhf->...f", 4, 3, forLhs: false, "int4", 8);
        Assert.Equal([2], how.ChannelwiseAxes);
        Assert.Equal([new(1, new TileSize(8L))], how.TiledAxes);
    }

    /// <summary>An index that one operand alone has is not contracted, so it is channelwise; without a contraction there are no tiles.</summary>
    [Fact]
    public void EinsumTreatsLoneIndicesAsChannels()
    {
        var how = EinsumOp.HowToQuantize("ij,jk->", 2, 2, forLhs: false, "int8", 4);
        Assert.Equal([1], how.ChannelwiseAxes);
        Assert.Equal(0, Assert.Single(how.TiledAxes).Key);
        Assert.Empty(EinsumOp.HowToQuantize("i,j->ij", 1, 1, forLhs: true, "int8", 4).TiledAxes);
    }

    [Fact]
    public void ConvolutionsScaleBatchAndOutputFeatures()
    {
        ConvDimensionNumbers numbers = ("NHWC", "HWIO", "NHWC");
        Assert.Equal([0], ConvGeneralOp.HowToQuantize(numbers, forLhs: true, "int8").ChannelwiseAxes);
        var how = ConvGeneralOp.HowToQuantize(numbers, forLhs: false, "int8", 16);
        Assert.Equal([3], how.ChannelwiseAxes);
        Assert.Equal([new(2, new TileSize(16L))], how.TiledAxes);
    }

    [Fact]
    public void MapsTileTheAxesTheyName()
    {
        Tiling map = new Dictionary<int, TileSize> { [0] = 2, [1] = 0.5 };
        foreach (var how in new[]
        {
            DotGeneralOp.HowToQuantize(new([1], [1]), 3, 3, forLhs: true, "int8", map),
            EinsumOp.HowToQuantize("ijk,jl->ikl", 3, 2, forLhs: true, "int8", map),
        })
        {
            Assert.Equal([2], how.ChannelwiseAxes);
            Assert.Equal(2, how.TiledAxes.Count);
        }

        var conv = ConvGeneralOp.HowToQuantize(ConvDimensionNumbers.ChannelsFirst(2), forLhs: false, "int8", map);
        Assert.Empty(conv.ChannelwiseAxes);
        Assert.Equal("{0: 2, 1: 0.5}", map.ToString());
        Assert.Equal("32", ((Tiling)32).ToString());
    }

    [Fact]
    public void WhatCannotBeQuantizedIsRefused()
    {
        Assert.Contains("'ii'", Assert.Throws<ArgumentException>(() => EinsumOp.HowToQuantize("ii,ij->j", 2, 2, true, "int8")).Message);
        Assert.Throws<ArgumentException>(() => EinsumOp.HowToQuantize("ab,bc,cd->ad", 2, 2, true, "int8"));
        Assert.Throws<ArgumentException>(() => DotGeneralOp.HowToQuantize(new([3], [0]), 2, 2, true, "int8"));
        Assert.Throws<ArgumentException>(() => ConvGeneralOp.HowToQuantize(new("NHWC", "HWIO", "NCH"), true, "int8"));
    }
}
