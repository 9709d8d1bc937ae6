using CsCheck;
using QwixSharp.Arrays;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Arrays;

/// <summary>A view operation on a quantized array is the same operation on the dequantized tensor, bit for bit.</summary>
public class QArrayViewTests
{
    private static readonly string[] Types = ["int1", "int2", "int3", "int4", "int8", "int16", "fp8", "nf4", "mxfp4"];

    /// <summary>Arrays of 1 to 4 axes of all granularities; the last axis is odd where no tile needs it even.</summary>
    private static readonly Gen<Made> Arrays = Gen.Select(
        Gen.Int[0, Types.Length - 1], Gen.Int[1, 4], Gen.Int[0, 1 << 8], Gen.Bool, Gen.Int[1, 9999],
        (type, rank, granularity, asymmetric, seed) => new Made(Types[type], rank, granularity, asymmetric, seed));

    private sealed record Made(string Type, int Rank, int Granularity, bool Asymmetric, int Seed)
    {
        public QArray Build()
        {
            manual_seed(Seed);
            var random = new Random(Seed);
            var qtype = QType.Parse(Type);
            long[] shape = [.. Enumerable.Range(0, Rank).Select(_ => (long)random.Next(1, 5) * 2 + (random.Next(3) == 0 ? 1 : 0))];
            var channels = new List<int>();
            var tiles = new Dictionary<int, TileSize>();
            if (qtype.RequiredTileSize is { } required)
            {
                shape[^1] = 2L * required;
                tiles[Rank - 1] = required;
            }

            for (int axis = 0; axis < Rank; axis++)
            {
                int choice = (Granularity >> (2 * axis)) & 3;
                if (tiles.ContainsKey(axis))
                    continue;
                if (choice == 1)
                    channels.Add(axis);
                else if (choice == 2 && shape[axis] % 2 == 0 && !qtype.IsMicroScaled)
                    tiles[axis] = 0.5;
            }

            return Qwix.Quantize(randn(shape), qtype, channels, tiles, Asymmetric && qtype.SupportsAsymmetric ? "minmax" : "absmax");
        }
    }

    [Fact]
    public void TransposeAndSwapAxes() => Arrays.Sample(made =>
    {
        using var scope = NewDisposeScope();
        var array = made.Build();
        var random = new Random(made.Seed);
        int[] axes = [.. Enumerable.Range(0, array.Rank).OrderBy(_ => random.Next())];
        AssertSame(array.Dequantize().permute([.. axes.Select(a => (long)a)]), array.Transpose(axes));
        AssertSame(array.Dequantize().permute([.. Enumerable.Range(0, array.Rank).Reverse().Select(a => (long)a)]), array.Transpose());
        AssertSame(array.Dequantize().transpose(0, -1), array.SwapAxes(0, -1));
    }, iter: 150, threads: 1);

    [Fact]
    public void ReshapeEqualsOrIsRefused()
    {
        int same = 0, refused = 0;
        Arrays.Sample(made =>
        {
            using var scope = NewDisposeScope();
            var array = made.Build();
            var target = RandomShape(array.Shape, new Random(made.Seed));
            QArray reshaped;
            try
            {
                reshaped = array.Reshape(target);
            }
            catch (ArgumentException error)
            {
                Assert.Contains("Dequantize first", error.Message);
                refused++;
                return;
            }

            same++;
            AssertSame(array.Dequantize().reshape(target), reshaped);
        }, iter: 300, threads: 1);
        Assert.True(same > 30 && refused > 5, $"{same} reshaped, {refused} refused");
    }

    [Fact]
    public void IndexingEqualsOrIsRefused()
    {
        int same = 0, refused = 0;
        Arrays.Sample(made =>
        {
            using var scope = NewDisposeScope();
            var array = made.Build();
            var (ours, theirs) = RandomIndex(array.Shape, new Random(made.Seed));
            QArray part;
            try
            {
                part = array[ours];
            }
            catch (ArgumentException error)
            {
                Assert.Contains("tile size", error.Message);
                refused++;
                return;
            }

            same++;
            AssertSame(array.Dequantize()[theirs], part);
        }, iter: 300, threads: 1);
        Assert.True(same > 100 && refused > 0, $"{same} indexed, {refused} refused");
    }

    [Fact]
    public void BroadcastTo() => Arrays.Sample(made =>
    {
        using var scope = NewDisposeScope();
        var array = made.Build();
        var random = new Random(made.Seed);
        AssertSame(array.Dequantize().expand([3, .. array.Shape]), array.BroadcastTo([3, .. array.Shape]));
        AssertSame(array.Dequantize().unsqueeze(0).expand([2, 3, .. array.Shape]), array.BroadcastTo([2, 3, .. array.Shape]));
        int axis = random.Next(array.Rank);
        QIndex[] one = [.. Enumerable.Range(0, array.Rank).Select(a => a == axis ? (QIndex)(0..1) : QIndex.All)];
        long[] wide = array.Shape.ToArray();
        AssertSame(array.Dequantize().narrow(axis, 0, 1).expand(wide), array[one].BroadcastTo(wide));
    }, iter: 100, threads: 1);

    [Theory]
    [InlineData(ScalarType.Float64)]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Float16)]
    public void ToAnotherDtype(ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        foreach (var type in Types)
        {
            var array = new Made(type, 2, 1, false, 5).Build();
            var cast = array.To(dtype);
            Assert.Equal((dtype, dtype), (cast.Dtype, cast.Dequantize().dtype));
            Assert.Equal(array.Codes.bytes.ToArray(), cast.Codes.bytes.ToArray());
            var difference = (cast.Dequantize().to(ScalarType.Float32) - array.Dequantize()).abs();
            Assert.True(difference.le((array.Dequantize().abs() * 0.02) + (GenericBroadcast.Expand(array.Scale, array.Shape) * 0.02)).all().item<bool>());
            array.Dispose();
            Assert.True(cast.Dequantize().isfinite().all().item<bool>());
        }
    }

    [Fact]
    public void ViewsOutliveTheirSource()
    {
        using var scope = NewDisposeScope();
        foreach (var type in Types)
        {
            var array = new Made(type, 2, 0, false, 3).Build();
            var expected = array.Dequantize();
            QArray[] views = [array.Transpose(), array.Reshape([.. array.Shape, 1]), array[QIndex.Ellipsis], array.BroadcastTo([1, .. array.Shape]), array.To(new Device(DeviceType.CPU))];
            array.Dispose();
            AssertSame(expected.t(), views[0]);
            AssertSame(expected.unsqueeze(-1), views[1]);
            AssertSame(expected, views[2]);
            AssertSame(expected.unsqueeze(0), views[3]);
            AssertSame(expected, views[4]);
        }
    }

    [Fact]
    public void IndicesByExample()
    {
        using var scope = NewDisposeScope();
        manual_seed(1);
        var array = Qwix.Quantize(randn(4, 6, 10), "int4", [0], new Dictionary<int, TileSize> { [2] = 5 });
        var x = array.Dequantize();
        AssertSame(x[1], array[1]);
        AssertSame(x[-1], array[^1]);
        AssertSame(x[-2], array[-2]);
        AssertSame(x.narrow(0, 1, 3), array[1..]);
        AssertSame(x.narrow(1, 2, 2), array[QIndex.All, 2..4]);
        AssertSame(x.narrow(2, 5, 5), array[QIndex.Ellipsis, 5..10]);
        AssertSame(x.narrow(2, 6, 3), array[QIndex.Ellipsis, 6..9]);
        AssertSame(x.select(2, 7), array[QIndex.Ellipsis, 7]);
        AssertSame(x.unsqueeze(0), array[QIndex.NewAxis]);
        AssertSame(x.unsqueeze(-1), array[QIndex.Ellipsis, QIndex.NewAxis]);
        AssertSame(x[0][1][2], array[0, 1, 2]);
        Assert.Equal(0, array[0, 1, 2].Rank);
    }

    [Fact]
    public void RefusalsNameWhatDoesNotFit()
    {
        using var scope = NewDisposeScope();
        var array = Qwix.Quantize(randn(4, 6, 10), "int8", [0], new Dictionary<int, TileSize> { [2] = 5 });
        AssertRefused(() => array[QIndex.Ellipsis, 2..7], "axis 2", "tile size 5");
        AssertRefused(() => array[QIndex.Ellipsis, 0..7], "axis 2", "tile size 5");
        AssertRefused(() => array[4], "Index 4", "axis 0", "length 4");
        AssertRefused(() => array[-5], "Index -5");
        AssertRefused(() => array[3..3], "empty", "axis 0");
        AssertRefused(() => array[2..9], "out of range", "axis 0");
        AssertRefused(() => array[0, 0, 0, 0], "3 axes", "4 indices");
        AssertRefused(() => array[QIndex.Ellipsis, QIndex.Ellipsis], "ellipsis");
        AssertSame(array.Dequantize().reshape(24, 10), array.Reshape(24, 10)); // tiles of six rows
        AssertRefused(() => array.Transpose(1, 0, 2).Reshape(24, 10), "Dequantize first", "[6, 4, 10]", "[24, 10]");
        AssertRefused(() => array.Reshape(4, 60), "Dequantize first");
        AssertRefused(() => array.Reshape(4, 6, 11), "number of elements");
        AssertRefused(() => array.Reshape(-1, -1, 10), "number of elements");
        AssertRefused(() => array.Reshape(7, -1), "number of elements");
        AssertRefused(() => array.Transpose(0, 1), "3 axes");
        AssertRefused(() => array.Transpose(0, 1, 1), "3 axes");
        Assert.Throws<ArgumentOutOfRangeException>(() => array.SwapAxes(0, 3));
        AssertRefused(() => array.BroadcastTo(6, 10), "[4, 6, 10]", "[6, 10]");
        AssertRefused(() => array.BroadcastTo(3, 6, 10), "[4, 6, 10]", "[3, 6, 10]");
    }

    internal static void AssertRefused(Func<object> act, params string[] words)
    {
        var error = Assert.ThrowsAny<ArgumentException>(act);
        Assert.All(words, word => Assert.Contains(word, error.Message));
    }

    private static void AssertSame(Tensor expected, QArray actual)
    {
        Assert.Equal(expected.shape, actual.Shape.ToArray());
        using var values = actual.Dequantize();
        Assert.Equal(expected.shape, values.shape);
        Assert.Equal(expected.contiguous().bytes.ToArray(), values.contiguous().bytes.ToArray());
    }

    /// <summary>Splits, merges and adds axes at random.</summary>
    private static long[] RandomShape(ReadOnlySpan<long> shape, Random random)
    {
        List<long> target = [];
        foreach (long n in shape)
        {
            switch (random.Next(5))
            {
                case 0 when target.Count > 0:
                    target[^1] *= n;
                    break;
                case 1 when n % 2 == 0:
                    target.AddRange([n / 2, 2]);
                    break;
                case 2 when n % 2 == 0:
                    target.AddRange([2, n / 2]);
                    break;
                case 3:
                    target.AddRange([1, n]);
                    break;
                default:
                    target.Add(n);
                    break;
            }
        }

        return [.. target];
    }

    private static (QIndex[] Ours, TensorIndex[] Theirs) RandomIndex(ReadOnlySpan<long> shape, Random random)
    {
        List<QIndex> ours = [];
        List<TensorIndex> theirs = [];
        int ellipsis = random.Next(-1, shape.Length);
        for (int axis = 0; axis < shape.Length; axis++)
        {
            if (random.Next(4) == 0)
            {
                ours.Add(QIndex.NewAxis);
                theirs.Add(TensorIndex.None);
            }

            int length = (int)shape[axis];
            if (axis == ellipsis)
            {
                ours.Add(QIndex.Ellipsis);
                theirs.Add(TensorIndex.Ellipsis);
                continue;
            }

            int start = random.Next(length), end = random.Next(start + 1, length + 1);
            switch (random.Next(4))
            {
                case 0:
                    ours.Add(start);
                    theirs.Add(TensorIndex.Single(start));
                    break;
                case 1:
                    ours.Add(start - length);
                    theirs.Add(TensorIndex.Single(start));
                    break;
                case 2:
                    ours.Add(QIndex.All);
                    theirs.Add(TensorIndex.Colon);
                    break;
                default:
                    ours.Add(start..end);
                    theirs.Add(TensorIndex.Slice(start, end));
                    break;
            }
        }

        return ([.. ours], [.. theirs]);
    }
}
