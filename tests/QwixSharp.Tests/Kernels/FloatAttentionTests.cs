using System.Runtime.Intrinsics;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Attention;

namespace QwixSharp.Tests.Kernels;

/// <summary>Attention of float32 against the plain sums in double precision.</summary>
public unsafe class FloatAttentionTests
{
    [Theory]
    [InlineData(1, 1, 1, 1, 32, 32, 1)]
    [InlineData(2, 3, 7, 33, 32, 32, 2)]
    [InlineData(1, 2, 64, 64, 5, 64, 2)]
    [InlineData(3, 1, 5, 16, 40, 96, 1)]
    public void EqualsTheDefinition(int batch, int heads, int queries, int keys, int size, int valueSize, int threads)
    {
        Assert.SkipUnless(FloatAttention.IsSupported, "It needs AVX2 and FMA.");
        var random = new Random(keys);
        float[] q = Sample.Floats(random, batch * heads * queries * size, 2), k = Sample.Floats(random, batch * heads * keys * size, 2);
        float[] v = Sample.Floats(random, batch * heads * keys * valueSize), bias = Sample.Floats(random, batch * queries * keys, 3);
        // Some keys are hidden, as a causal mask hides them.
        for (int i = 0; i < bias.Length; i++)
            bias[i] = i % keys != 0 && random.Next(5) == 0 ? float.NegativeInfinity : bias[i];
        var result = new float[batch * heads * queries * valueSize];
        fixed (float* pq = q, pk = k, pv = v, pb = bias, pr = result)
        {
            FloatAttention.Run(
                new FloatAttentionShape(batch, heads, queries, keys, size, valueSize),
                Heads(pq, heads, queries, size), Heads(pk, heads, keys, size), Heads(pv, heads, keys, valueSize),
                new HeadTensor((nint)pb, queries * keys, 0, keys), 0.3f, Heads(pr, heads, queries, valueSize), threads);
        }

        for (int b = 0; b < batch; b++)
            for (int h = 0; h < heads; h++)
                for (int i = 0; i < queries; i++)
                    Check(b, h, i);

        void Check(int b, int h, int i)
        {
            int unit = (b * heads) + h;
            var weights = new double[keys];
            for (int j = 0; j < keys; j++)
            {
                double score = 0;
                for (int c = 0; c < size; c++)
                    score += (double)q[(((unit * queries) + i) * size) + c] * k[(((unit * keys) + j) * size) + c];
                weights[j] = (score * 0.3f) + bias[(((b * queries) + i) * keys) + j];
            }

            double largest = weights.Max(), sum = weights.Sum(w => Math.Exp(w - largest));
            for (int c = 0; c < valueSize; c++)
            {
                double expected = 0;
                for (int j = 0; j < keys; j++)
                    expected += Math.Exp(weights[j] - largest) / sum * v[(((unit * keys) + j) * valueSize) + c];
                Assert.Equal(expected, result[(((unit * queries) + i) * valueSize) + c], 2e-5);
            }
        }
    }

    [Fact]
    public void ANaNReachesItsRowAloneAndHiddenRowsAreNaN()
    {
        Assert.SkipUnless(FloatAttention.IsSupported, "It needs AVX2 and FMA.");
        const int Tokens = 6, Size = 32;
        float[] x = Sample.Floats(new Random(3), Tokens * Size), result = new float[Tokens * Size], bias = new float[Tokens * Tokens];
        x[2 * Size] = float.NaN;
        Array.Fill(bias, float.NegativeInfinity, 4 * Tokens, Tokens);
        float[] keys = Sample.Floats(new Random(4), Tokens * Size);
        fixed (float* px = x, pk = keys, pr = result, pb = bias)
        {
            var shape = new FloatAttentionShape(1, 1, Tokens, Tokens, Size, Size);
            FloatAttention.Run(shape, Heads(px, 1, Tokens, Size), Heads(pk, 1, Tokens, Size), Heads(pk, 1, Tokens, Size), new HeadTensor((nint)pb, 0, 0, Tokens), 1, Heads(pr, 1, Tokens, Size), 1);
        }

        for (int row = 0; row < Tokens; row++)
            Assert.Equal(row is 2 or 4, float.IsNaN(result[row * Size]));
    }

    [Fact]
    public void GeluIsThatOfTheDefinition()
    {
        for (float x = -9; x < 9; x += 0.013f)
        {
            double expected = x / 2 * Erfc(-x / Math.Sqrt(2));
            Assert.Equal(expected, Gelu.Of(Vector256.Create(x))[3], 4e-7 * Math.Max(1, Math.Abs(x)));
            Assert.Equal(Gelu.Of(Vector256.Create(x))[0], Gelu.Of(Vector128.Create(x))[1]);
        }

        Assert.True(float.IsNaN(Gelu.Of(Vector256.Create(float.NaN))[0]));
        Assert.Equal(float.PositiveInfinity, Gelu.Of(Vector256.Create(float.PositiveInfinity))[0]);
    }

    /// <summary>By the integral of the bell curve, with Simpson's rule.</summary>
    private static double Erfc(double t)
    {
        const int Steps = 2000;
        double sum = 0, width = t / Steps;
        for (int i = 0; i <= Steps; i++)
            sum += Math.Exp(-(i * width) * (i * width)) * (i is 0 or Steps ? 1 : i % 2 == 1 ? 4 : 2);
        return 1 - (2 / Math.Sqrt(Math.PI) * sum * width / 3);
    }

    private static HeadTensor Heads(float* data, int heads, int tokens, int size) => new((nint)data, (long)heads * tokens * size, (long)tokens * size, size);
}
