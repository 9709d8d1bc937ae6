using QwixSharp.Interception.NativeModules;
using static QwixSharp.Tests.Interception.NativeModules.Equivalence;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception.NativeModules;

[Collection(RandomState.Name)]
public class AttentionTests
{
    private const long Width = 12, Targets = 4, Sources = 5, Batch = 3;

    public static TheoryData<long, bool, bool, bool, bool> Options()
    {
        var data = new TheoryData<long, bool, bool, bool, bool>();
        foreach (var heads in new[] { 1L, 2, 3, 12 })
        {
            for (var flags = 0; flags < 16; flags++) data.Add(heads, (flags & 1) > 0, (flags & 2) > 0, (flags & 4) > 0, (flags & 8) > 0);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void EqualsNative(long heads, bool bias, bool addBias, bool addZero, bool otherSizes)
    {
        Seed();
        using var scope = NewDisposeScope();
        using var module = nn.MultiheadAttention(Width, heads, 0, bias, addBias, addZero, otherSizes ? 7 : null, otherSizes ? 7 : null);
        var query = randn(Targets, Batch, Width);
        var key = randn(Sources, Batch, otherSizes ? 7 : Width);
        var value = randn_like(key);
        var padding = tensor(new[] { false, false, false, true, true }).repeat(Batch, 1);
        var added = randn(Targets, Sources);
        Check(module, true, "forward", query, key, value, null, true, null);
        Check(module, true, "forward", query, key, key, padding, true, added);
        Check(module, true, "forward", query, key, value, padding, false, null);
        Check(module, true, "forward", query, key, value, null, false, added.gt(0));
        if (!otherSizes) Check(module, true, "forward", query, query, query, null, true, null);
    }

    [Theory]
    [InlineData(1, 0.0)]
    [InlineData(1, 0.4)]
    [InlineData(4, 0.1)]
    [InlineData(16, 0.5)]
    [InlineData(64, 0.9)]
    [InlineData(64, 0.01)]
    [InlineData(2, 1.0)]
    public void DropsAsNativeDoes(long heads, double p)
    {
        Seed();
        using var scope = NewDisposeScope();
        using var module = nn.MultiheadAttention(64, heads, p, add_bias_kv: true);
        module.train();
        var x = randn(Targets, Batch, 64);
        Assert.Equal(p, AttentionOptions.Of(module).Settings(true).Dropout, 5);
        Assert.Equal(heads, AttentionOptions.Of(module).Settings(false).Heads);
        Assert.True(module.training);
        Seed(3);
        var native = Tensors(Original(module, "forward", x, x, x, null, true, null)).ToArray();
        Seed(3);
        var managed = Tensors(Replacement(module, "forward", x, x, x, null, true, null)).ToArray();
        for (var i = 0; i < 2; i++) Close(native[i], managed[i], Tolerance, $"output {i}");
    }

    [Theory]
    [InlineData(512, 8, 1.0)]
    [InlineData(768, 12, 1.0)]
    [InlineData(96, 32, 0.01)]
    [InlineData(30, 5, 30.0)]
    public void FindsHeadsAtAnySizeOfWeights(long width, long heads, double scale)
    {
        Seed();
        using var module = nn.MultiheadAttention(width, heads);
        using (no_grad()) module.get_parameter("in_proj_weight")!.mul_(scale);
        var found = AttentionOptions.Of(module).Settings(false);
        Assert.Equal(heads, found.Heads);
        Assert.False(found.AddZeroAttention);
    }

    [Fact]
    public void SaysWhenHeadsCannotBeTold()
    {
        using var module = nn.MultiheadAttention(Width, 2);
        using (no_grad()) module.get_parameter("in_proj_weight")!.zero_();
        using var x = randn(Targets, Batch, Width);
        var error = Assert.Throws<QwixException>(() => Replacement(module, "forward", x, x, x, null, true, null));
        Assert.Contains("number of heads", error.Message);
    }

    [Fact]
    public void GivesAnInvalidTensorForWeightsThatWereNotAskedFor()
    {
        using var module = nn.MultiheadAttention(Width, 2);
        using var x = randn(Targets, Batch, Width);
        var result = (Tuple<Tensor, Tensor>)Replacement(module, "forward", x, x, x, null, false, null)!;
        Assert.True(result.Item2.IsInvalid);
        result.Item1.Dispose();
    }

    [Fact]
    public void LeavesNothingBehind()
    {
        using var module = nn.MultiheadAttention(Width, 2, 0.1, true, true, true);
        using var x = randn(Targets, Batch, Width);
        using var mask = zeros(Targets, Targets);
        LeaksNothing(module, "forward", x, x, x, null, true, mask);
    }

    [Fact]
    public void IsSafeToRunFirstFromManyThreads()
    {
        using var module = nn.MultiheadAttention(Width, 3, 0.5);
        module.eval();
        using var x = randn(Targets, Batch, Width);
        using var expected = module.call(x, x, x).Item1;
        Parallel.For(0, 8, _ =>
        {
            using var scope = NewDisposeScope();
            Close(expected, Tensors(Replacement(module, "forward", x, x, x, null, true, null)).First(), Tolerance, "output");
        });
    }
}
