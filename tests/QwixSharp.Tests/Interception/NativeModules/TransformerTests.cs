using QwixSharp.Interception.NativeModules;
using static QwixSharp.Tests.Interception.NativeModules.Equivalence;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception.NativeModules;

[Collection(RandomState.Name)]
public class TransformerTests
{
    private const long Width = 12, Targets = 4, Sources = 5, Batch = 3;

    public static TheoryData<long, nn.Activations, double, bool> Options => new()
    {
        { 1, nn.Activations.ReLU, 0, true },
        { 3, nn.Activations.GELU, 0, true },
        { 4, nn.Activations.ReLU, 0.1, false },
        { 12, nn.Activations.GELU, 0.5, false },
    };

    [Theory]
    [MemberData(nameof(Options))]
    public void EncoderLayerEqualsNative(long heads, nn.Activations activation, double dropout, bool training)
    {
        Seed();
        using var scope = NewDisposeScope();
        using var module = nn.TransformerEncoderLayer(Width, heads, 16, dropout, activation);
        module.train(training);
        var (src, mask, padding) = Source();
        Check(module, true, "forward", src);
        Check(module, true, "call", src, mask);
        Check(module, true, "call", src, null, padding);
        Check(module, true, "call", src, mask, padding);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void EncoderEqualsNative(long heads, nn.Activations activation, double dropout, bool training)
    {
        Seed();
        using var scope = NewDisposeScope();
        using var layer = nn.TransformerEncoderLayer(Width, heads, 16, dropout, activation);
        using var module = nn.TransformerEncoder(layer, 3);
        module.train(training);
        var (src, mask, padding) = Source();
        Check(module, true, "forward", src, null, null);
        Check(module, true, "forward", src, mask, padding);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void DecoderAndItsLayerEqualNative(long heads, nn.Activations activation, double dropout, bool training)
    {
        Seed();
        using var scope = NewDisposeScope();
        using var layer = nn.TransformerDecoderLayer(Width, heads, 16, dropout, activation);
        using var module = nn.TransformerDecoder(layer, 2);
        var (memory, _, padding) = Source();
        var tgt = randn(Targets, Batch, Width);
        foreach (var m in new nn.Module[] { layer, module })
        {
            m.train(training);
            Check(m, true, "forward", tgt, memory, null, null, null, null);
            Check(m, true, "forward", tgt, memory, randn(Targets, Targets), randn(Targets, Sources), padding[.., ..(int)Targets], padding);
        }
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void TransformerEqualsNative(long heads, nn.Activations activation, double dropout, bool training)
    {
        Seed();
        using var scope = NewDisposeScope();
        using var module = nn.Transformer(Width, heads, 2, 1, 16, dropout, activation);
        module.train(training);
        var (src, mask, padding) = Source();
        var tgt = randn(Targets, Batch, Width);
        Check(module, true, "forward", src, tgt);
        Check(module, true, "call", src, tgt, mask, randn(Targets, Targets), randn(Targets, Sources), padding, padding[.., ..(int)Targets], padding);
    }

    [Fact]
    public void DropsAsNativeDoes()
    {
        using var scope = NewDisposeScope();
        using var encoderLayer = nn.TransformerEncoderLayer(Width, 3, 16, 0.3);
        using var decoderLayer = nn.TransformerDecoderLayer(Width, 4, 16, 0.25, nn.Activations.GELU);
        using var transformer = nn.Transformer(Width, 2, 1, 2, 16, 0.15);
        var src = randn(Sources, Batch, Width);
        Same(encoderLayer, 0.3, "forward", src);
        Same(decoderLayer, 0.25, "forward", src, src, null, null, null, null);
        Same(transformer, 0.15, "forward", src, src);

        static void Same(nn.Module module, double p, string name, params object?[] arguments)
        {
            module.train();
            using var before = random.get_rng_state();
            Assert.Equal(p, TransformerOptions.Of(module).Attention.Dropout, 5);
            using (var after = random.get_rng_state()) Assert.True(before.Equals(after), "the probe moved the random generator");
            Seed(5);
            var native = (Tensor)Original(module, name, arguments)!;
            Seed(5);
            Close(native, (Tensor)Replacement(module, name, arguments)!, Tolerance, module.GetName());
        }
    }

    [Fact]
    public void WorksOnDegenerateWeightsAndLeavesThemAlone()
    {
        using var scope = NewDisposeScope();
        using var module = nn.TransformerEncoderLayer(Width, 4, 16, 0.1, nn.Activations.GELU);
        using (no_grad())
        {
            foreach (var p in module.parameters()) p.zero_();
        }

        var options = TransformerOptions.Of(module);
        Assert.Equal(4, options.Attention.Heads);
        Assert.True(options.IsGelu);
        Assert.True(module.training);
        Assert.All(module.parameters(), p => Assert.Equal(0, p.abs().max().item<float>()));
    }

    [Fact]
    public void AStackWithoutLayersReturnsNotItsInput()
    {
        using var scope = NewDisposeScope();
        using var module = nn.Transformer(Width, 2, 0, 0, 16);
        var src = randn(Sources, Batch, Width);
        Check(module, false, "forward", src, src);
    }

    [Fact]
    public void LeavesNothingBehind()
    {
        using var module = nn.Transformer(Width, 2, 2, 2, 16);
        using var src = randn(Sources, Batch, Width);
        LeaksNothing(module, "forward", src, src);
        module.eval();
        LeaksNothing(module, "forward", src, src);
    }

    private static (Tensor Source, Tensor Mask, Tensor Padding) Source() =>
        (randn(Sources, Batch, Width), randn(Sources, Sources), tensor(new[] { false, false, true, false, true }).repeat(Batch, 1));
}
