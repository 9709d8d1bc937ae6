using QwixSharp.Arrays;

namespace QwixSharp.Tests.Arrays;

public class TileSizeTests
{
    [Theory]
    [InlineData(32, 128, 32)]
    [InlineData(1, 7, 1)]
    [InlineData(200, 128, 200)]
    public void ACountIsItself(int count, long length, long expected)
    {
        TileSize size = count;
        Assert.Equal(expected, size.Resolve(length));
        Assert.Equal(count.ToString(), size.ToString());
    }

    [Theory]
    [InlineData(1.0, 96, 96)]
    [InlineData(0.5, 96, 48)]
    [InlineData(1.0 / 3, 96, 32)]
    [InlineData(0.25, 10, 2)]
    [InlineData(0.1, 2, 0)]
    public void AFractionIsOneOverTheNumberOfTiles(double fraction, long length, long expected)
    {
        TileSize size = fraction;
        Assert.Equal(expected, size.Resolve(length));
    }

    [Fact]
    public void OneIsAScaleForEachValueAndOnePointZeroOneForTheAxis()
    {
        TileSize count = 1, fraction = 1.0;
        Assert.NotEqual(count, fraction);
        Assert.Equal((1L, 64L), (count.Resolve(64), fraction.Resolve(64)));
        Assert.Equal(("1", "1.0"), (count.ToString(), fraction.ToString()));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-4)]
    public void CountsArePositive(int count) => Assert.Throws<ArgumentOutOfRangeException>(() => (TileSize)count);

    [Theory]
    [InlineData(0.0)]
    [InlineData(-0.5)]
    [InlineData(1.5)]
    [InlineData(32.0)]
    [InlineData(double.NaN)]
    public void FractionsAreAboveZeroAndAtMostOne(double fraction) =>
        Assert.Contains("give an integer", Assert.Throws<ArgumentOutOfRangeException>(() => (TileSize)fraction).Message);

    [Fact]
    public void TilingsTakeNumbersAndMaps()
    {
        Tiling count = 32, fraction = 0.25, map = new Dictionary<int, TileSize> { [0] = 32, [2] = 0.25 };
        Assert.Equal(("32", "0.25", "{0: 32, 2: 0.25}"), (count.ToString(), fraction.ToString(), map.ToString()));
        Assert.Null(count.Axes);
        Assert.Null(map.Contraction);
        Assert.Equal(new TileSize(32L), Tiling.Resolve(count, 3)[3]);
        Assert.Empty(Tiling.Resolve(count, null));
        Assert.Empty(Tiling.Resolve(null, 1));
        Assert.Equal([0, 2], Tiling.Resolve(map, 1).Keys);
        Assert.Throws<ArgumentNullException>(() => (Tiling)(Dictionary<int, TileSize>)null!);
    }

    [Fact]
    public void AMapIsCopied()
    {
        var axes = new Dictionary<int, TileSize> { [0] = 2 };
        Tiling map = axes;
        axes.Clear();
        Assert.Single(map.Axes!);
    }
}
