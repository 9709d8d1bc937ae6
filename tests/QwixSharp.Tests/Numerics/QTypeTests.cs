using QwixSharp.Numerics;

namespace QwixSharp.Tests.Numerics;

public class QTypeTests
{
    private static readonly string[] Names =
    [
        "int1", "int2", "int3", "int4", "int5", "int6", "int7", "int8", "int16",
        "float8_e4m3fn", "float8_e5m2", "nf4", "mxfp8", "mxfp8_16", "mxfp4", "nvfp4",
    ];

    public static IEnumerable<TheoryDataRow<string>> NameRows() => Names.Select(n => new TheoryDataRow<string>(n));

    [Theory]
    [MemberData(nameof(NameRows))]
    public void EveryNameOfTheReferenceIsRead(string name)
    {
        var qtype = QType.Parse(name);
        Assert.Equal(name, qtype.Name);
        Assert.Equal(name, qtype.ToString());
        Assert.Same(qtype, QType.Parse(name.ToUpperInvariant()));
        Assert.Same(qtype, QType.Parse($" {name}\t"));
        QType converted = name;
        Assert.Same(qtype, converted);
        Assert.True(QType.TryParse(name, out var tried));
        Assert.Same(qtype, tried);
    }

    [Fact]
    public void AllHoldsEachTypeOnce() => Assert.Equal(Names.Order(), QType.All.Select(t => t.Name).Order());

    [Fact]
    public void TheStaticInstancesAreTheNamedOnes()
    {
        QType[] instances =
        [
            QType.Int1, QType.Int2, QType.Int3, QType.Int4, QType.Int5, QType.Int6, QType.Int7, QType.Int8, QType.Int16,
            QType.Float8E4M3Fn, QType.Float8E5M2, QType.NF4, QType.MxFp8, QType.MxFp8Tile16, QType.MxFp4, QType.NvFp4,
        ];
        Assert.Equal(Names, instances.Select(t => t.Name));
    }

    [Fact]
    public void TheShortNameOfFp8()
    {
        Assert.Same(QType.Float8E4M3Fn, QType.Parse("fp8"));
        Assert.Same(QType.Float8E4M3Fn, QType.Parse("FP8"));
    }

    [Theory]
    [InlineData("int9")]
    [InlineData("")]
    [InlineData("float32")]
    [InlineData("int 8")]
    public void AnUnknownNameIsToldWithThoseThatExist(string name)
    {
        var error = Assert.Throws<ArgumentException>(() => QType.Parse(name));
        Assert.Contains($"\"{name}\"", error.Message);
        Assert.All(Names.Append("fp8"), known => Assert.Contains(known, error.Message));
        Assert.False(QType.TryParse(name, out var none));
        Assert.Null(none);
    }

    [Fact]
    public void NullIsNoName()
    {
        Assert.Throws<ArgumentNullException>(() => QType.Parse(null!));
        Assert.False(QType.TryParse(null, out _));
        QType? converted = (string?)null;
        Assert.Null(converted);
    }

    [Theory]
    [InlineData("int1", 1.0, -1, 1, false, null)]
    [InlineData("int2", 1.5, -2, 1, false, null)]
    [InlineData("int3", 3.5, -4, 3, false, null)]
    [InlineData("int4", 7.5, -8, 7, true, null)]
    [InlineData("int5", 15.5, -16, 15, false, null)]
    [InlineData("int6", 31.5, -32, 31, false, null)]
    [InlineData("int7", 63.5, -64, 63, false, null)]
    [InlineData("int8", 127.5, -128, 127, true, null)]
    [InlineData("int16", 32768.0, -32768, 32767, true, null)]
    [InlineData("float8_e4m3fn", 448.0, 0, 0, false, null)]
    [InlineData("float8_e5m2", 57344.0, 0, 0, false, null)]
    [InlineData("nf4", 1.0, 0, 0, false, null)]
    [InlineData("mxfp8", 448.0, 0, 0, false, 32)]
    [InlineData("mxfp8_16", 448.0, 0, 0, false, 16)]
    [InlineData("mxfp4", 6.0, 0, 0, false, 32)]
    [InlineData("nvfp4", 6.0, 0, 0, false, 16)]
    public void BoundsCodesAndTiles(string name, double bound, int min, int max, bool asymmetric, int? tile)
    {
        var qtype = QType.Parse(name);
        Assert.Equal(bound, qtype.SymmetricBound);
        Assert.Equal((min, max), (qtype.Min, qtype.Max));
        Assert.Equal(asymmetric, qtype.SupportsAsymmetric);
        Assert.Equal(tile, qtype.RequiredTileSize);
        Assert.Equal(tile is not null, qtype.IsMicroScaled);
        Assert.Equal(name != "nf4", qtype.CanDequantizeOnOutput);
    }

    [Theory]
    [InlineData("int1", 1)]
    [InlineData("int2", 2)]
    [InlineData("int3", 4)]
    [InlineData("int4", 4)]
    [InlineData("nf4", 4)]
    [InlineData("mxfp4", 4)]
    [InlineData("nvfp4", 4)]
    [InlineData("int5", 8)]
    [InlineData("int8", 8)]
    [InlineData("float8_e5m2", 8)]
    [InlineData("mxfp8", 8)]
    [InlineData("int16", 16)]
    public void BitsThatAStoredCodeTakes(string name, int bits) => Assert.Equal(bits, QType.Parse(name).StorageBits);
}
