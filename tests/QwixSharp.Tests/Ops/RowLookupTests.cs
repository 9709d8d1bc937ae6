using QwixSharp.Arrays;
using QwixSharp.Ops;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops;

public class RowLookupTests
{
    public static TheoryData<string, long> Types => new() { { "int8", 32 }, { "int4", 8 }, { "int8", 8 }, { "int5", 32 }, { "int2", 8 }, { "int1", 32 }, { "nf4", 16 }, { "fp8", 32 }, { "float8_e5m2", 8 }, { "mxfp8", 32 }, { "mxfp4", 32 }, { "nvfp4", 16 } };

    public static TheoryData<string, long, ScalarType> NarrowTypes => [.. from type in Types from dtype in new[] { ScalarType.BFloat16, ScalarType.Float16 } select (type.Data.Item1, type.Data.Item2, dtype)];

    [Theory]
    [MemberData(nameof(Types))]
    public void RowsAreThoseOfTheDequantizedTable(string qtype, long tile)
    {
        using var scope = NewDisposeScope();
        var table = Table(qtype, tile);
        var indices = tensor([3L, 0, 49, 3]);
        var expected = table.Dequantize().index_select(0, indices);

        Assert.True(expected.equal(RowLookup.Take(table, indices)).all().item<bool>(), "from codes");
        Multiply(table);
        Assert.True(expected.equal(RowLookup.Take(table, indices)).all().item<bool>(), "from the kernels' form");
    }

    /// <summary>With weights in 16 bits a table tied to an output layer gave rows of float32.</summary>
    [Theory]
    [MemberData(nameof(NarrowTypes))]
    public void RowsHaveTheTablesDtype(string qtype, long tile, ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        var table = Table(qtype, tile, dtype);
        var indices = tensor([3L, 0, 49, 3]);
        var expected = table.Dequantize().index_select(0, indices);
        Multiply(table);

        var rows = RowLookup.Take(table, indices);

        Assert.Equal(dtype, rows.dtype);
        Assert.True(expected.equal(rows).all().item<bool>());
    }

    [Fact]
    public void ATableThatTheKernelsHaveAloneStaysSo()
    {
        using var scope = NewDisposeScope();
        using var indices = tensor([3L, 0]);
        var table = Table("int8", 32);
        Multiply(table);
        table.Compact();
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        RowLookup.Take(table, indices).Dispose();

        // Codes and scales that were brought back would be tensors.
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Theory]
    [InlineData(50)]
    [InlineData(-1)]
    public void AnIndexThatIsNoRowIsRefused(long index)
    {
        using var scope = NewDisposeScope();
        var table = Table("int8", 32);
        Multiply(table);

        var error = Assert.Throws<ArgumentException>(() => RowLookup.Take(table, tensor([index])));

        Assert.Contains($"Index {index} is no row of a table of 50", error.Message);
    }

    private static QArray Table(string qtype, long tile, ScalarType dtype = ScalarType.Float32) => Qwix.Quantize(randn(50, 32, dtype: dtype), qtype, [0], new Dictionary<int, TileSize> { [1] = new TileSize(tile) });

    /// <summary>Makes the kernels' form.</summary>
    private static void Multiply(QArray table) => Qwix.DotGeneral(randn(1, 32, dtype: table.Dtype), table, new DotDimensionNumbers([1], [1])).Dispose();
}
