using CsCheck;
using QwixSharp.Checkpoints.Gguf;
using QwixSharp.Checkpoints.Gguf.Blocks;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>Each vectorised form of a block format against the format's definition, one value at a time.</summary>
public class GgufBlockTests
{
    private const int Length = BlockMath.Length;

    /// <summary>Blocks of mixed magnitudes, with zeros, equal values, both signs of the largest, and ties between codes.</summary>
    private static readonly Gen<float[]> Block = Gen.Select(
        Gen.OneOf(Gen.Float[-1, 1], Gen.Int[-16, 16].Select(i => i / 2f), Gen.Const(0f), Gen.Const(-0f)).Array[Length],
        Gen.Int[-12, 12],
        (values, exponent) => Array.ConvertAll(values, v => MathF.ScaleB(v, exponent)));

    public static TheoryData<string> Written => ["Q8_0", "Q4_0", "Q4_1"];

    public static TheoryData<string> Read => ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"];

    [Theory]
    [MemberData(nameof(Written))]
    public void EncodesAsDefined(string name)
    {
        var type = Find(name);
        Block.Array[1, 4].Sample(
            blocks =>
            {
                float[] values = [.. blocks.SelectMany(b => b)];
                var actual = new byte[blocks.Length * type.BlockSize];
                type.Encode!(values, actual);
                byte[] expected = [.. blocks.SelectMany(b => ScalarBlocks.Encode(name, b))];
                Assert.Equal(expected, actual);
            },
            iter: 2000);
    }

    [Theory]
    [MemberData(nameof(Read))]
    public void DecodesAsDefined(string name)
    {
        var type = Find(name);
        Gen.Select(Gen.Byte.Array[type.BlockSize], Gen.Float[-2, 2], Gen.Float[-2, 2]).Array[1, 3].Sample(
            blocks =>
            {
                byte[] bytes = [.. blocks.SelectMany(b => ScalarBlocks.WithScales(name, b.Item1, b.Item2, b.Item3))];
                var actual = new float[blocks.Length * type.BlockLength];
                type.Decode!(bytes, actual);
                float[] expected = [.. bytes.Chunk(type.BlockSize).SelectMany(b => ScalarBlocks.Decode(name, b))];
                Assert.Equal(expected, actual);
            },
            iter: 1000);
    }

    [Theory]
    [InlineData("Q8_0", 1f / 127)]
    [InlineData("Q4_0", 1f / 8)]
    [InlineData("Q4_1", 2f / 15)]
    public void DecodedValuesAreNear(string name, float step)
    {
        var type = Find(name);
        Block.Sample(
            block =>
            {
                var bytes = new byte[type.BlockSize];
                type.Encode!(block, bytes);
                var decoded = new float[Length];
                type.Decode!(bytes, decoded);
                float largest = block.Max(MathF.Abs);
                // Float16 scales of small blocks are subnormal, and have an absolute error.
                for (int i = 0; i < Length; i++)
                    Assert.True(MathF.Abs(decoded[i] - block[i]) <= (1.01f * step * largest) + (300 * 6e-8f), $"{block[i]} became {decoded[i]} in a block up to {largest}.");
            },
            iter: 1000);
    }

    [Theory]
    [InlineData("Q8_0")]
    [InlineData("Q4_0")]
    [InlineData("Q4_1")]
    public void TinyBlocksAreZeros(string name)
    {
        var type = Find(name);
        var values = Enumerable.Repeat(float.Epsilon, Length).ToArray();
        values[0] = 0;
        var bytes = new byte[type.BlockSize];
        type.Encode!(values, bytes);
        type.Decode!(bytes, values);
        Assert.All(values, v => Assert.Equal(0, v));
    }

    [Theory]
    [InlineData("Q8_0", float.NaN)]
    [InlineData("Q4_0", float.PositiveInfinity)]
    [InlineData("Q4_1", float.MaxValue)]
    public void WhatFloat16CannotScaleIsRefused(string name, float value)
    {
        var type = Find(name);
        var values = new float[Length];
        values[7] = value;
        Assert.Throws<OverflowException>(() => type.Encode!(values, new byte[type.BlockSize]));
    }

    [Fact]
    public void SplitAndJoinedBlocksAreTheSame() => Gen.Byte.Array[Q8Blocks.Size * Q4Blocks.SymmetricSize].Sample(
        bytes =>
        {
            AssertJoins("Q8_0", bytes, Length, Q8Blocks.Split, Q8Blocks.Join);
            AssertJoins("Q4_0", bytes, Length / 2, Q4Blocks.Split, Q4Blocks.Join);
        },
        iter: 200);

    private delegate void Splitter(ReadOnlySpan<byte> blocks, Span<byte> codes, Span<float> scales);

    private delegate void Joiner(ReadOnlySpan<byte> codes, ReadOnlySpan<float> scales, Span<byte> blocks);

    private static void AssertJoins(string name, byte[] bytes, int codeBytes, Splitter split, Joiner join)
    {
        int size = Find(name).BlockSize, count = bytes.Length / size;
        byte[] blocks = [.. bytes.Chunk(size).SelectMany(b => ScalarBlocks.WithScales(name, b, 0.25f, 0))];
        var codes = new byte[count * codeBytes];
        var scales = new float[count];
        split(blocks, codes, scales);
        var joined = new byte[blocks.Length];
        join(codes, scales, joined);
        Assert.Equal(blocks, joined);
    }

    private static GgufTensorType Find(string name) => Enumerable.Range(0, 64).Select(i => GgufTensorType.Find((uint)i)).First(t => t?.Name == name)!;
}
