using System.Runtime.Intrinsics;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Attention;

namespace QwixSharp.Tests.Kernels;

/// <summary>Attention over plain keys and values, a block at a time, against the plain sums in double precision.</summary>
public unsafe class BlockAttentionTests
{
    [Theory]
    [InlineData(1, 2, 1, 1, 1, 16, true, 1)]
    [InlineData(1, 3, 3, 1, 200, 64, false, 1)]
    [InlineData(2, 1, 4, 1, 33, 32, false, 2)]
    [InlineData(1, 2, 5, 1, 1100, 16, false, 2)]
    [InlineData(1, 2, 3, 70, 70, 16, true, 2)]
    [InlineData(1, 2, 3, 70, 70, 64, true, 2)]
    [InlineData(1, 1, 1, 13, 45, 96, true, 1)]
    [InlineData(2, 2, 1, 9, 40, 48, false, 2)]
    [InlineData(1, 1, 2, 300, 300, 32, true, 2)]
    public void EqualsTheDefinition(int batch, int keyHeads, int group, int queries, int keys, int size, bool isCausal, int threads)
    {
        var random = new Random(keys);
        var heads = keyHeads * group;
        float[] q = Sample.Floats(random, batch * heads * queries * size, 2);
        // Keys lie with gaps behind heads, values with gaps behind tokens.
        int keyHead = (keys + 3) * size, valueToken = size + 8;
        float[] k = Sample.Floats(random, batch * keyHeads * keyHead, 2), v = Sample.Floats(random, batch * keyHeads * keys * valueToken);
        var result = new float[q.Length];
        fixed (float* pq = q, pk = k, pv = v, pr = result)
        {
            var tokens = new FloatTokens(
                new HeadTensor((nint)pk, (long)keyHeads * keyHead, keyHead, size), new HeadTensor((nint)pv, (long)keyHeads * keys * valueToken, (long)keys * valueToken, valueToken), batch, keyHeads, size);
            int[] lengths = [.. Enumerable.Repeat(keys, batch)];
            // Queries by head, the result by token.
            BlockAttention.Run(
                tokens, lengths, new AttentionShape(keyHeads, heads, queries, 0.3f, isCausal),
                new HeadTensor((nint)pq, (long)heads * queries * size, (long)queries * size, size), new HeadTensor((nint)pr, (long)heads * queries * size, size, (long)heads * size), threads);
        }

        for (int b = 0; b < batch; b++)
            for (int h = 0; h < heads; h++)
                for (int i = 0; i < queries; i++)
                    Check(b, h, i);

        void Check(int b, int h, int i)
        {
            int visible = isCausal ? i + 1 : keys, keyStart = ((b * keyHeads) + (h / group)) * keyHead, valueStart = ((b * keyHeads) + (h / group)) * keys * valueToken;
            var scores = new double[visible];
            for (int j = 0; j < visible; j++)
                for (int c = 0; c < size; c++)
                    scores[j] += (double)q[(((((b * heads) + h) * queries) + i) * size) + c] * k[keyStart + (j * size) + c] * 0.3f;
            double largest = scores.Max(), sum = scores.Sum(s => Math.Exp(s - largest));
            for (int c = 0; c < size; c++)
            {
                double expected = 0;
                for (int j = 0; j < visible; j++)
                    expected += Math.Exp(scores[j] - largest) / sum * v[valueStart + (j * valueToken) + c];
                Assert.Equal(expected, result[(((((b * queries) + i) * heads) + h) * size) + c], 4e-6);
            }
        }
    }

    [Fact]
    public void ANaNOfAQueryReachesItsOwnResultAlone()
    {
        const int Tokens = 6, Size = 16;
        float[] q = Sample.Floats(new Random(3), Tokens * Size), k = Sample.Floats(new Random(4), Tokens * Size), result = new float[Tokens * Size];
        q[2 * Size] = float.NaN;
        fixed (float* pq = q, pk = k, pr = result)
        {
            HeadTensor Heads(float* data) => new((nint)data, Tokens * Size, Tokens * Size, Size);
            BlockAttention.Run(new FloatTokens(Heads(pk), Heads(pk), 1, 1, Size), [Tokens], new AttentionShape(1, 1, Tokens, 1, IsCausal: true), Heads(pq), Heads(pr), 1);
        }

        for (int row = 0; row < Tokens; row++)
            Assert.Equal(row == 2, float.IsNaN(result[row * Size]));
    }

    [Fact]
    public void TheExponentialIsThatOfTheDefinition()
    {
        for (float x = -88; x <= 0; x += 0.0137f)
        {
            Assert.Equal(Math.Exp(x), Exponential.OfNegative(Vector256.Create(x))[3], Math.Max(2.5e-7 * Math.Exp(x), 1.2e-38));
            Assert.Equal(Exponential.OfNegative(Vector256.Create(x))[3], Exponential.OfNegative(Vector512.Create(x))[12]);
        }

        Assert.Equal(1, Exponential.OfNegative(Vector256<float>.Zero)[0]);
        Assert.Equal(0, Exponential.OfNegative(Vector256.Create(float.NegativeInfinity))[0]);
        Assert.Equal(0, Exponential.OfNegative(Vector256.Create(-1e30f))[0]);
        Assert.True(float.IsNaN(Exponential.OfNegative(Vector256.Create(float.NaN))[0]));
        Assert.True(float.IsNaN(Exponential.OfNegative(Vector512.Create(float.NaN))[0]));
    }
}
