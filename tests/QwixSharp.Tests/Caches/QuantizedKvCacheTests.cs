using CsCheck;
using QwixSharp.Arrays;
using QwixSharp.Caches;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Caches;

public class QuantizedKvCacheTests
{
    public static TheoryData<string> Types => ["int8", "int4", "float8_e4m3fn", "float8_e5m2"];

    [Theory]
    [MemberData(nameof(Types))]
    public void TokensAreQuantizedAsArraysAreWithAScaleForEachTokenOfEachHead(string qtype)
    {
        using var scope = NewDisposeScope();
        using var cache = new QuantizedKvCache(heads: 3, headSize: 20, qtype, batch: 2);
        var (keys, values) = (Random(2, 3, 70, 20), Random(2, 3, 70, 20));

        for (int from = 0; from < 70; from += 35)
            cache.Append(keys.narrow(2, from, 35), values.narrow(2, from, 35));

        Assert.Equal(70, cache.Length);
        for (int sequence = 0; sequence < 2; sequence++)
        {
            AssertSame(Quantized(keys[sequence], qtype), cache.Keys(sequence));
            AssertSame(Quantized(values[sequence], qtype), cache.Values(sequence));
        }
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void AttentionIsThatOverTheDequantizedCache(string qtype)
    {
        using var scope = NewDisposeScope();
        Gen.Select(Gen.Int[1, 3], Gen.Int[1, 3], Gen.Int[1, 3], Gen.Int[1, 36], Gen.Int[0, 300], Gen.Int[1, 70]).Sample(
            (batch, heads, group, halfSize, past, tokens) =>
            {
                using var inner = NewDisposeScope();
                using var cache = new QuantizedKvCache(heads, 2 * halfSize, qtype, batch);
                if (past > 0)
                    cache.Append(Random(batch, heads, past, 2 * halfSize), Random(batch, heads, past, 2 * halfSize));
                cache.Append(Random(batch, heads, tokens, 2 * halfSize), Random(batch, heads, tokens, 2 * halfSize));
                var queries = Random(batch, heads * group, tokens, 2 * halfSize);

                var attended = cache.Attend(queries);

                for (int sequence = 0; sequence < batch; sequence++)
                    AssertClose(Expected(cache, sequence, queries[sequence]), attended[sequence]);
            },
            iter: 60);
    }

    [Fact]
    public void TokensAreDividedAmongThreadsWhereHeadsAreFew()
    {
        using var scope = NewDisposeScope();
        using var cache = new QuantizedKvCache(1, 64, QType.Int8, capacity: 1500);
        cache.Append(Random(1, 1, 1500, 64) * 3, Random(1, 1, 1500, 64));
        var queries = Random(1, 3, 1, 64) * 3;

        AssertClose(Expected(cache, 0, queries[0]), cache.Attend(queries)[0]);
    }

    [Fact]
    public void ScoresAreScaledAsAsked()
    {
        using var scope = NewDisposeScope();
        using var cache = Filled(1, 2, 5, 8);
        var queries = Random(1, 2, 1, 8);

        AssertClose(cache.Attend(queries * (0.25 * Math.Sqrt(8))), cache.Attend(queries, scale: 0.25));
        Assert.False(cache.Attend(queries).allclose(cache.Attend(queries, scale: 0.25)));
    }

    [Fact]
    public void SequencesOfDifferentLengthsAttendAsTheyDoAlone()
    {
        using var scope = NewDisposeScope();
        var (keys, values, queries) = (Random(2, 2, 41, 16), Random(2, 2, 41, 16), Random(2, 4, 1, 16));
        using var both = new QuantizedKvCache(2, 16, QType.Int8, batch: 2);
        both.Append(keys.narrow(2, 0, 40), values.narrow(2, 0, 40));
        both.Trim(sequence: 1, length: 33);
        both.Append(keys.narrow(2, 40, 1), values.narrow(2, 40, 1));
        using var alone = new QuantizedKvCache(2, 16, QType.Int8);
        Tensor Of(Tensor x, long from, long count) => x.narrow(0, 1, 1).narrow(2, from, count);
        alone.Append(Of(keys, 0, 33), Of(values, 0, 33));
        alone.Append(Of(keys, 40, 1), Of(values, 40, 1));

        Assert.Equal([41, 34], both.Lengths);
        AssertClose(alone.Attend(queries.narrow(0, 1, 1)), both.Attend(queries).narrow(0, 1, 1));
    }

    [Fact]
    public void WhatIsTrimmedIsForgotten()
    {
        using var scope = NewDisposeScope();
        var (keys, values, queries) = (Random(1, 2, 90, 16), Random(1, 2, 90, 16), Random(1, 2, 3, 16));
        using var cache = new QuantizedKvCache(2, 16, QType.Int4);
        cache.Append(keys.narrow(2, 0, 50), values.narrow(2, 0, 50));
        cache.Append(full_like(keys.narrow(2, 0, 9), float.NaN), full_like(keys.narrow(2, 0, 9), float.NaN));

        cache.Trim(50);
        cache.Append(keys.narrow(2, 50, 3), values.narrow(2, 50, 3));

        Assert.Equal(53, cache.Length);
        AssertSame(Quantized(keys[0].narrow(1, 0, 53), "int4"), cache.Keys());
        AssertClose(Expected(cache, 0, queries[0]), cache.Attend(queries)[0]);
        cache.Trim(1000);
        Assert.Equal(53, cache.Length);
    }

    [Fact]
    public void ATokenThatIsNotANumberReachesOnlyThoseThatSeeIt()
    {
        using var scope = NewDisposeScope();
        var keys = Random(1, 1, 8, 16);
        keys.select(2, 5).fill_(float.NaN);
        using var cache = new QuantizedKvCache(1, 16, QType.Int8);
        cache.Append(keys, keys);

        var attended = cache.Attend(Random(1, 1, 8, 16));

        Assert.True(attended.narrow(2, 0, 5).isfinite().all().item<bool>());
        Assert.True(attended.narrow(2, 5, 3).isnan().all().item<bool>());
    }

    [Fact]
    public void MemoryIsLittleMoreThanAQuarterOfFloats()
    {
        using var int8 = new QuantizedKvCache(3, 64, QType.Int8, capacity: 2048);
        using var int4 = new QuantizedKvCache(3, 64, QType.Int4, capacity: 2048);
        const double floats = 2048 * 3 * 64 * 2 * sizeof(float);

        Assert.Equal(68 / 256.0, int8.ByteSize / floats);
        Assert.Equal(36 / 256.0, int4.ByteSize / floats);
    }

    [Fact]
    public void RoomGrowsWithTheTokens()
    {
        using var scope = NewDisposeScope();
        using var cache = new QuantizedKvCache(1, 16, QType.Int8, capacity: 32);
        var keys = Random(1, 1, 100, 16);
        for (int token = 0; token < 100; token++)
            cache.Append(keys.narrow(2, token, 1), keys.narrow(2, token, 1));

        Assert.InRange(cache.Capacity, 100, 160);
        AssertSame(Quantized(keys[0], "int8"), cache.Values());
    }

    [Theory]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Float16)]
    [InlineData(ScalarType.Float64)]
    public void OtherDtypesAreComputedInFloat32(ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        var (keys, queries) = (Random(1, 1, 40, 16).to(dtype), Random(1, 2, 1, 16).to(dtype));
        using var cache = new QuantizedKvCache(1, 16, QType.Int8);
        cache.Append(keys, keys);
        using var same = new QuantizedKvCache(1, 16, QType.Int8);
        same.Append(keys.to(ScalarType.Float32), keys.to(ScalarType.Float32));

        var attended = cache.Attend(queries);

        Assert.Equal(dtype, attended.dtype);
        Assert.True(attended.equal(same.Attend(queries.to(ScalarType.Float32)).to(dtype)).all().item<bool>());
    }

    [Fact]
    public void NothingIsLeftOfUsingACache()
    {
        using var keys = Random(1, 2, 5, 8);
        using var queries = Random(1, 4, 5, 8).DetachFromDisposeScope();
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        using (var cache = new QuantizedKvCache(2, 8, QType.Int8))
        {
            for (int i = 0; i < 20; i++)
            {
                cache.Append(keys, keys);
                cache.Attend(queries).Dispose();
                cache.Keys().Dispose();
            }
        }

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void WhatDoesNotFitIsRefusedAndChangesNothing()
    {
        using var scope = NewDisposeScope();
        using var cache = Filled(2, 2, 5, 8);
        void Refuses(string expected, Action action)
        {
            Assert.Contains(expected, Assert.ThrowsAny<ArgumentException>(action).Message);
            Assert.Equal(5, cache.Length);
        }

        Refuses("keys must be [2, 2, tokens, 8], not [2, 3, 1, 8]", () => cache.Append(Random(2, 3, 1, 8), Random(2, 2, 1, 8)));
        Refuses("values must be [2, 2, tokens, 8], not [1, 2, 1, 8]", () => cache.Append(Random(2, 2, 1, 8), Random(1, 2, 1, 8)));
        Refuses("The keys are of 1 tokens, but the values of 2", () => cache.Append(Random(2, 2, 1, 8), Random(2, 2, 2, 8)));
        Refuses("keys must be floating-point, not Int64", () => cache.Append(zeros(2, 2, 1, 8, ScalarType.Int64), Random(2, 2, 1, 8)));
        Refuses("keys must be on the CPU", () => cache.Append(empty([2, 2, 1, 8], device: META), Random(2, 2, 1, 8)));
        Refuses("3 heads of queries cannot share 2 heads of keys evenly", () => cache.Attend(Random(2, 3, 1, 8)));
        Refuses("queries of 6 tokens, but a sequence of the cache has 5", () => cache.Attend(Random(2, 2, 6, 8)));
        Refuses("2 sequences", () => cache.Trim(2, 1));
        Refuses("length", () => cache.Trim(-1));
        Refuses("A cache cannot be of nf4. Use int8, int4, float8_e4m3fn or float8_e5m2.", () => new QuantizedKvCache(2, 8, "nf4"));
        Refuses("the head size must be even, not 7", () => new QuantizedKvCache(2, 7, "int4"));
        Refuses("heads", () => new QuantizedKvCache(0, 8, "int8"));
    }

    [Fact]
    public void ADisposedCacheSaysSo()
    {
        using var scope = NewDisposeScope();
        var cache = Filled(1, 1, 1, 8);
        cache.Dispose();

        Assert.Throws<ObjectDisposedException>(() => cache.Append(Random(1, 1, 1, 8), Random(1, 1, 1, 8)));
        Assert.Throws<ObjectDisposedException>(() => cache.Attend(Random(1, 1, 1, 8)));
        Assert.Throws<ObjectDisposedException>(() => cache.Keys());
    }

    private static QuantizedKvCache Filled(int batch, int heads, int tokens, int headSize)
    {
        var cache = new QuantizedKvCache(heads, headSize, QType.Int8, batch);
        cache.Append(Random(batch, heads, tokens, headSize), Random(batch, heads, tokens, headSize));
        return cache;
    }

    private static Tensor Random(params long[] shape) => randn(shape);

    private static QArray Quantized(Tensor x, string qtype) =>
        Qwix.Quantize(x, qtype, [0, 1]);

    /// <summary>Attention of one sequence in plain tensor ops: [query heads, tokens, head size].</summary>
    private static Tensor Expected(QuantizedKvCache cache, int sequence, Tensor queries)
    {
        long group = queries.shape[0] / cache.Heads, tokens = queries.shape[1];
        var keys = cache.Keys(sequence).Dequantize().repeat_interleave(group, 0);
        var values = cache.Values(sequence).Dequantize().repeat_interleave(group, 0);
        var scores = queries.matmul(keys.transpose(1, 2)) / Math.Sqrt(cache.HeadSize);
        var visible = ones(tokens, keys.shape[1], ScalarType.Bool).tril(keys.shape[1] - tokens);
        return scores.masked_fill(visible.logical_not(), float.NegativeInfinity).softmax(-1).matmul(values);
    }

    private static void AssertClose(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.shape, actual.shape);
        Assert.True((expected - actual).abs().max().item<float>() <= 2e-5 * expected.abs().max().item<float>(), "attention differs");
    }

    private static void AssertSame(QArray expected, QArray actual)
    {
        Assert.True(expected.GetQValue().equal(actual.GetQValue()).all().item<bool>(), "codes differ");
        Assert.True(expected.Scale.equal(actual.Scale).all().item<bool>(), "scales differ");
    }
}
