using QwixSharp.Arrays;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Golden;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Lora;

/// <summary>Scales that are quantized themselves.</summary>
public sealed class DoubleQuantizationTests
{
    private static readonly LoraRule Rule = new() { Rank = 4, Alpha = 8, WeightQType = "nf4", TileSize = 64, DoubleQuantization = true, InitializeB = b => b.normal_() };

    [Theory]
    [InlineData(new long[] { 512, 4 })]
    [InlineData(new long[] { 3, 5 })]
    [InlineData(new long[] { 1 })]
    public void EachScaleIsWithinHalfAStepOfItsBlock(long[] shape)
    {
        using var scope = NewDisposeScope();
        var scale = rand(shape) + 0.1;
        using var quantized = new DoubleQuantizedScale(scale);
        using var restored = quantized.Restore();
        // A step is a 127.5th of the largest distance from the mean.
        float step = (scale - scale.mean()).abs().max().item<float>() / 127.5f;
        Assert.True((scale - restored).abs().max().item<float>() <= step / 2 * 1.01f + 1e-6f);
        Assert.Equal(shape, restored.shape);
        long blocks = (scale.NumberOfElements + 255) / 256;
        Assert.Equal((blocks * (256 + 4)) + 4, quantized.ByteSize);
    }

    [Fact]
    public void NoScaleBecomesNegative()
    {
        using var scope = NewDisposeScope();
        var scale = cat([zeros(100) + 1e-6, ones(100) * 3]);
        using var quantized = new DoubleQuantizedScale(scale);
        using var restored = quantized.Restore();
        Assert.True(restored.min().item<float>() >= 0);
    }

    [Fact]
    public void TheModelTakesFewerBytesAndComputesWithTheRestoredScales()
    {
        using var scope = NewDisposeScope();
        using var model = nn.Linear(256, 512, hasBias: false);
        var x = randn(4, 256).requires_grad_();
        using var single = Qwix.ApplyLora(model, new LoraProvider(Rule with { DoubleQuantization = false }), x);
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Rule), x);
        long scales = 256 * 512 / 64;
        Assert.Equal(single.Weights["weight"].ByteSize - (4 * scales) + (scales / 256 * 260) + 4, lora.Weights["weight"].ByteSize);

        var merged = lora.Adapters.Merge()["weight"];
        lora.ReleaseOriginalWeights();
        var y = lora.call(x);
        GoldenValue.AssertClose(nn.functional.linear(x.detach(), merged), y, 1e-5);
        y.sum().backward();
        GoldenValue.AssertClose(merged.sum([0L]).expand(4, 256), x.grad!, 1e-5);
        Assert.True(lora.Weights["weight"].HasDoubleQuantizedScale);
        Assert.True(GoldenValue.Snr(single.Weights["weight"].Dequantize(), lora.Weights["weight"].Dequantize()) > 40);
    }

    [Fact]
    public void ALoadedStateComputesTheSame()
    {
        using var scope = NewDisposeScope();
        using var model = nn.Linear(128, 64, hasBias: false);
        using var other = nn.Linear(128, 64, hasBias: false);
        var x = randn(4, 128);
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Rule), x);
        using var loaded = Qwix.ApplyLora(other, new LoraProvider(Rule), x);
        loaded.load_state_dict(lora.state_dict());
        GoldenValue.AssertClose(lora.call(x), loaded.call(x), 1e-5);
        GoldenValue.AssertBits("weight", lora.Weights["weight"].Dequantize(), loaded.Weights["weight"].Dequantize());
    }
}
