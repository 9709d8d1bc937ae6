using QwixSharp.LiteRT.Tests.Export;
using QwixSharp.LiteRT.Tests.Runtime;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Integers;

/// <summary>What a file computes in floating point between int16 codes gives the same codes as the conversion model, all of them.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class FloatStepTests(LiteRtRuntime runtime)
{
    /// <summary>Widths with whole groups of four sums of four, with some groups, and with one, two and three numbers left over.</summary>
    [Theory]
    [InlineData(384)]
    [InlineData(29)]
    [InlineData(50)]
    [InlineData(7)]
    public void LayerNorms(int width)
    {
        using var scope = NewDisposeScope();
        manual_seed(5);
        var norm = nn.LayerNorm(width);
        using (no_grad())
        {
            norm.weight!.copy_(1 + (0.3f * randn(width)));
            norm.bias!.copy_(randn(width));
        }

        Check(norm, randn(8, 64, width) + 0.3f);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(-1)]
    public void Sums(int axis)
    {
        using var scope = NewDisposeScope();
        manual_seed(5);
        Check(new Function(x => x.sum(axis, keepdim: axis < 0)), randn(8, 30, 101));
    }

    [Fact]
    public void Normalization()
    {
        using var scope = NewDisposeScope();
        manual_seed(5);
        Check(new Function(x => nn.functional.normalize(x, dim: -1)), randn(64, 45));
    }

    /// <summary>A mask keeps the scores in floating point until softmax.</summary>
    [Theory]
    [InlineData(16)]
    [InlineData(19)]
    [InlineData(22)]
    public void SoftmaxOfMaskedScores(int width)
    {
        using var scope = NewDisposeScope();
        manual_seed(5);
        var mask = ones(width, width).tril().eq(0);
        Check(new Function(x => (x * 0.7f).masked_fill(mask, float.NegativeInfinity).softmax(-1)), 3 * randn(24, width, width));
    }

    private void Check(nn.Module model, Tensor x) => OnDevice.Check(runtime, model, [[x]], OnDevice.Static(activations: "int16"), equal: 1);
}
