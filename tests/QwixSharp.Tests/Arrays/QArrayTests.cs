using QwixSharp.Arrays;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Arrays;

/// <summary>The parts of a quantized array must fit each other; and who owns them.</summary>
public class QArrayTests
{
    [Fact]
    public void PartsThatFitMakeAnArray()
    {
        using var scope = NewDisposeScope();
        var array = new QArray("int4", [3, 5], zeros(3, 3, ScalarType.Byte), ones(3, 1), zeros(3, 1, ScalarType.Int8));
        Assert.Equal("QArray(int4, [3, 5], scale [3, 1] Float32, with zero point)", array.ToString());
        Assert.Equal((2, ScalarType.Float32, 9 + 12 + 3), (array.Rank, array.Dtype, array.ByteSize));
        Assert.Empty(array.TiledAxes());
        Assert.Equal([new(1, 8L)], new QArray("int8", [2, 32], zeros(2, 32, ScalarType.Int8), ones(2, 4)).TiledAxes());
    }

    [Fact]
    public void PartsThatDoNotFitAreRefused()
    {
        using var scope = NewDisposeScope();
        Tensor codes = zeros(4, 6, ScalarType.Int8), scale = ones(4, 1), packed = zeros(4, 3, ScalarType.Byte);
        Refused(() => new QArray("int8", [4, 6], zeros(4, 6, ScalarType.Byte), scale), "int8", "stored as Int8", "Byte");
        Refused(() => new QArray("int16", [4, 6], codes, scale), "stored as Int16", "Int8");
        Refused(() => new QArray("int4", [4, 6], codes, scale), "stored as Byte");
        Refused(() => new QArray("nf4", [4, 6], zeros(4, 6, ScalarType.Byte), scale), "[4, 3]", "[4, 6]");
        Refused(() => new QArray("int4", [4, 7], packed, scale), "[4, 4]", "[4, 3]");
        Refused(() => new QArray("int8", [4, 7], codes, scale), "[4, 7]", "[4, 6]");
        Refused(() => new QArray("int8", [24], codes, scale), "[24]");
        Refused(() => new QArray("int8", [4, 6], codes, ones(4)), "scale", "[4]", "rank");
        Refused(() => new QArray("int8", [4, 6], codes, ones(4, 4)), "scale", "axis 1");
        Refused(() => new QArray("int8", [4, 6], codes, ones(8, 1)), "scale", "axis 0");
        Refused(() => new QArray("int8", [4, 6], codes, ones(4, 0)), "scale", "axis 1");
        Refused(() => new QArray("int8", [4, 6], codes, scale.to(ScalarType.Int32)), "scale", "Int32");
        Refused(() => new QArray("int8", [4, 6], codes, scale, zeros(4, 1)), "zero point", "Int8", "Float32");
        Refused(() => new QArray("int8", [4, 6], codes, scale, zeros(4, 4, ScalarType.Int8)), "zero point", "axis 1");
        Refused(() => new QArray("int3", [4, 6], packed, scale, zeros(4, 1, ScalarType.Int8)), "int3", "zero point");
        Refused(() => new QArray("int16", [4, 6], codes.to(ScalarType.Int16), scale, zeros(4, 1, ScalarType.Int8)), "zero point", "Int16");
        Assert.Throws<ArgumentNullException>(() => new QArray(null!, [4, 6], codes, scale));
        Assert.Throws<ArgumentNullException>(() => new QArray("int8", [4, 6], null!, scale));
        Assert.Throws<ArgumentNullException>(() => new QArray("int8", [4, 6], codes, null!));
    }

    [Fact]
    public void AZeroPointIsSubtractedBeforeScaling()
    {
        using var scope = NewDisposeScope();
        var array = new QArray("int8", [2, 4], tensor(new sbyte[,] { { -128, 0, 1, 127 }, { 1, 2, 3, 4 } }), tensor(new float[,] { { 0.5f, 2 }, { 1, 10 } }), tensor(new sbyte[,] { { -128, 1 }, { 1, 0 } }));
        Assert.Equal([0, 64, 0, 252, 0, 1, 30, 40], array.Dequantize().data<float>().ToArray());
    }

    [Fact]
    public void DisposingFreesEveryPart()
    {
        using var scope = NewDisposeScope();
        var array = Qwix.Quantize(randn(4, 6), "int8", [0], calibration: "minmax");
        array.Dispose();
        Assert.True(array.Codes.IsInvalid && array.Scale.IsInvalid && array.ZeroPoint!.IsInvalid);
    }

    [Fact]
    public void ADisposeScopeOwnsAnArrayUnlessItIsTakenOut()
    {
        QArray inside, moved, detached;
        using (NewDisposeScope())
        {
            using (NewDisposeScope())
            {
                inside = Qwix.Quantize(randn(4, 6), "int8", [0], calibration: "minmax");
                moved = Qwix.Quantize(randn(4, 6), "int4", [0], calibration: "minmax").MoveToOuterDisposeScope();
                detached = Qwix.Quantize(randn(4, 6), "nf4").DetachFromDisposeScope();
            }

            Assert.True(inside.Codes.IsInvalid);
            moved.Dequantize();
        }

        Assert.True(moved.Codes.IsInvalid && moved.ZeroPoint!.IsInvalid);
        detached.Dequantize().Dispose();
        detached.Dispose();
    }

    /// <summary>Counts what is created and not disposed in a dispose scope of its own.</summary>
    [Theory]
    [InlineData("int8", "minmax")]
    [InlineData("int4", "absmax")]
    [InlineData("nf4", "rms,3")]
    [InlineData("mxfp8", "absmax")]
    [InlineData("nvfp4", "fixed,3")]
    public void NothingLeaks(string qtype, string calibration)
    {
        using var x = randn(4, 64);
        var tiles = new Dictionary<int, TileSize> { [1] = qtype == "nvfp4" ? 16 : 32 };
        var statistics = DisposeScopeManager.Statistics.TensorStatistics;
        long before = statistics.ThreadTotalLiveCount;
        for (int i = 0; i < 3; i++)
        {
            using var array = Qwix.Quantize(x, qtype, [0], tiles, calibration);
            array.Dequantize().Dispose();
            array.GetQValue().Dispose();
            using var transposed = array.Transpose();
            using var reshaped = array.Reshape(4, 1, 64);
            using var part = array[1];
            using var wide = array.BroadcastTo(2, 4, 64);
            using var cast = array.To(ScalarType.BFloat16);
            using var fromScale = Qwix.Quantize(x, qtype, [0], tiles, calibration, ScalarType.Float64);
        }

        Assert.Equal(before, statistics.ThreadTotalLiveCount);
    }

    private static void Refused(Func<QArray> act, params string[] words) => QArrayViewTests.AssertRefused(act, words);
}
