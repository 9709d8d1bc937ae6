using CsCheck;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Numerics;

public class CodePackingTests
{
    public static IEnumerable<TheoryDataRow<string>> Types() => QType.All.Select(t => new TheoryDataRow<string>(t.Name));

    [Theory]
    [MemberData(nameof(Types))]
    public void UnpackingUndoesPacking(string name)
    {
        var qtype = QType.Parse(name);
        Gen.Select(Gen.Int[0, 4].Array[0, 3], Gen.Int[0, 19], Gen.Int[0, 1 << 20]).Sample(
            (outer, last, seed) =>
            {
                using var scope = NewDisposeScope();
                long[] shape = [.. outer.Select(n => (long)n), last];
                CheckRoundTrip(qtype, RandomCodes(qtype, shape, seed));
            },
            iter: 40, threads: 1);
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void ScalarsAndEmptyArrays(string name)
    {
        using var scope = NewDisposeScope();
        var qtype = QType.Parse(name);
        foreach (var code in CodecTests.AllCodes(qtype).unbind())
            CheckRoundTrip(qtype, code);
        foreach (var shape in new long[][] { [0], [3, 0], [0, 5], [2, 0, 3] })
            CheckRoundTrip(qtype, zeros(shape, dtype: Codec.CodeDtype(qtype)));
    }

    [Theory]
    [InlineData("int1", 8)]
    [InlineData("int2", 4)]
    [InlineData("int3", 2)]
    [InlineData("int4", 2)]
    [InlineData("nf4", 2)]
    [InlineData("mxfp4", 2)]
    [InlineData("nvfp4", 2)]
    [InlineData("int5", 1)]
    [InlineData("int8", 1)]
    [InlineData("float8_e4m3fn", 1)]
    public void CodesToAByte(string name, int codesPerByte)
    {
        using var scope = NewDisposeScope();
        var array = Qwix.Quantize(rand(6, 64), name, tiledAxes: new Dictionary<int, QwixSharp.Arrays.TileSize> { [1] = name == "nvfp4" ? 16 : 32 });
        Assert.Equal(6 * 64 / codesPerByte, array.Codes.NumberOfElements * array.Codes.ElementSize);
        Assert.Equal((6 * 64 / codesPerByte) + (array.Scale.NumberOfElements * 4), array.ByteSize);
    }

    /// <summary>The layout is a promise to checkpoints: the first code in the lowest bits, rows padded with zeros.</summary>
    [Fact]
    public void TheLayoutOfBytes()
    {
        using var scope = NewDisposeScope();
        Assert.Equal([0x21, 0x0F], Packed("int4", 1, 2, -1));
        Assert.Equal([0b00_01_11_10, 0b01], Packed("int2", -2, -1, 1, 0, 1));
        Assert.Equal([0b0000_1101, 0], Packed("int1", 1, -1, 1, 1, -1, -1, -1, -1, -1));
        Assert.Equal([0x3C], Packed("int3", -4, 3));
    }

    private static byte[] Packed(string name, params sbyte[] codes) => CodePacking.Pack(tensor(codes), QType.Parse(name)).bytes.ToArray();

    private static void CheckRoundTrip(QType qtype, Tensor codes)
    {
        var packed = CodePacking.Pack(codes, qtype);
        Assert.Equal(CodePacking.PackedShape(codes.shape, qtype), packed.shape);
        Assert.Equal(CodePacking.IsPacked(qtype) ? ScalarType.Byte : codes.dtype, packed.dtype);
        var back = CodePacking.Unpack(packed, qtype, codes.dim() == 0 ? 1 : codes.shape[^1]);
        Assert.Equal(codes.shape, back.shape);
        Assert.Equal(codes.dtype, back.dtype);
        Assert.Equal(codes.contiguous().bytes.ToArray(), back.contiguous().bytes.ToArray());
    }

    private static Tensor RandomCodes(QType qtype, long[] shape, int seed)
    {
        manual_seed(seed);
        var all = CodecTests.AllCodes(qtype);
        return shape.Contains(0) ? zeros(shape, dtype: all.dtype) : all.index_select(0, randint(all.NumberOfElements, [shape.Aggregate(1L, (a, b) => a * b)], ScalarType.Int64)).reshape(shape);
    }
}
