using QwixSharp.Interception.NativeModules;
using TorchSharp;
using static QwixSharp.Tests.Interception.NativeModules.Equivalence;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception.NativeModules;

[Collection(RandomState.Name)]
public class EmbeddingTests
{
    private const long Rows = 7, Width = 4;

    [Theory]
    [InlineData(null, false, false, null)]
    [InlineData(0L, false, false, null)]
    [InlineData(6L, true, false, null)]
    [InlineData(null, true, false, null)]
    [InlineData(2L, false, true, null)]
    [InlineData(null, false, false, 0.5)]
    [InlineData(3L, true, false, 0.5)]
    public void EqualsNative(long? padding, bool scaled, bool sparse, double? maxNorm)
    {
        Seed();
        using var scope = NewDisposeScope();
        using var module = nn.Embedding(Rows, Width, padding, maxNorm, 2, scaled, sparse);
        var input = tensor(new long[] { 0, 1, 1, 6, 2, 2, 2, 3 });
        Check(module, true, "forward", input);
        Check(module, true, "forward", input.view(2, 2, 2));
        // libtorch's own sparse backward fails on a single index.
        Check(module, !sparse, "forward", input[3]);
        Check(module, true, "forward", input.to(ScalarType.Int32));
        using (no_grad()) Check(module, false, "forward", input);
        Assert.Equal(sparse, EmbeddingOptions.Of(module).Gradient.IsSparse);
        Assert.Equal(sparse || maxNorm is not null, EmbeddingOptions.Of(module).MustRunNatively);
        Assert.Equal(padding ?? -1, EmbeddingOptions.Of(module).Gradient.PaddingIndex);
        LeaksNothing(module, "forward", input);
    }

    [Fact]
    public void AskingKeepsTheGradientThatIsHeld()
    {
        Seed();
        using var scope = NewDisposeScope();
        using var module = nn.Embedding(Rows, Width);
        var weight = module.get_parameter("weight")!;
        module.call(tensor(new long[] { 1 })).sum().backward();
        var held = weight.grad!.clone();
        Assert.Equal(-1, EmbeddingOptions.Of(module).Gradient.PaddingIndex);
        Assert.True(held.Equals(weight.grad!));
    }

    [Fact]
    public void AskingLeavesTheTableAlone()
    {
        Seed();
        using var scope = NewDisposeScope();
        using var module = nn.Embedding(Rows, Width, max_norm: 0.1);
        var before = module.get_parameter("weight")!.clone();
        Assert.True(EmbeddingOptions.Of(module).MustRunNatively);
        Assert.True(before.Equals(module.get_parameter("weight")!));
    }

    [Fact]
    public void UsesTheRegisteredParameter()
    {
        Seed();
        using var module = nn.Embedding(Rows, Width);
        Assert.Same(module.get_parameter("weight"), EmbeddingOptions.Of(module).Weight);
        using var scope = NewDisposeScope();
        module.weight = nn.Parameter(randn(Rows, Width));
        Assert.Same(module.get_parameter("weight"), EmbeddingOptions.Of(module).Weight);
        Check(module, true, "forward", tensor(new long[] { 1, 2 }));
    }

    [Fact]
    public void FollowsWhatAPretrainedModuleReallyLooksUp()
    {
        using var scope = NewDisposeScope();
        var table = randn(Rows, Width);
        using var module = nn.Embedding_from_pretrained(table.clone());
        using var bag = nn.EmbeddingBag_from_pretrained(table.clone(), mode: EmbeddingBagMode.Sum);
        var input = tensor(new long[] { 1, 2, 6 });
        Check(module, false, "forward", input);
        Check(bag, false, "forward", input.unsqueeze(0), null, null);
        Close(table.index_select(0, input), (Tensor)Replacement(module, "forward", input)!, 0, "rows");
    }

    public static TheoryData<EmbeddingBagMode, long, bool, bool> Bags()
    {
        var data = new TheoryData<EmbeddingBagMode, long, bool, bool>();
        foreach (var mode in new[] { EmbeddingBagMode.Sum, EmbeddingBagMode.Mean, EmbeddingBagMode.Max })
        {
            foreach (var padding in new[] { -1L, 0, 2 })
            {
                data.Add(mode, padding, false, false);
                data.Add(mode, padding, true, mode != EmbeddingBagMode.Max);
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Bags))]
    public void BagsEqualNative(EmbeddingBagMode mode, long padding, bool lastOffset, bool scaled)
    {
        Seed();
        using var scope = NewDisposeScope();
        using var module = nn.EmbeddingBag(Rows, Width, scale_grad_by_freq: scaled, mode: mode, include_last_offset: lastOffset, padding_index: padding);
        var flat = tensor(new long[] { 0, 1, 1, 6, 2, 2, 2, 3 });
        // Bags of 3, 0, 1 and 4; with the last offset included, the 8 ends them.
        var offsets = lastOffset ? tensor(new long[] { 0, 3, 3, 4, 8 }) : tensor(new long[] { 0, 3, 3, 4 });
        Check(module, true, "forward", flat, offsets, null);
        Check(module, true, "forward", flat.to(ScalarType.Int32), offsets.to(ScalarType.Int32), null);
        if (!lastOffset) Check(module, true, "forward", flat.view(2, 4), null, null);
        else RefusesAMatrix(module, flat.view(2, 4));
        if (mode == EmbeddingBagMode.Sum && !scaled)
        {
            Check(module, true, "forward", flat, offsets, randn(8));
            if (!lastOffset) Check(module, true, "forward", flat.view(2, 4), null, randn(2, 4));
        }
        else if (mode != EmbeddingBagMode.Sum)
        {
            Assert.ThrowsAny<Exception>(() => Original(module, "forward", flat, offsets, randn(8)));
            using var evaluating = no_grad();
            Assert.Throws<ArgumentException>(() => Replacement(module, "forward", flat, offsets, randn(8)));
        }

        LeaksNothing(module, "forward", flat, offsets, null);
    }

    /// <summary>With include_last_offset libtorch reads beyond the offsets of a matrix, and may crash.</summary>
    private static void RefusesAMatrix(nn.Module module, Tensor matrix)
    {
        using var evaluating = no_grad();
        var error = Assert.Throws<ArgumentException>(() => Replacement(module, "forward", matrix, null, null));
        Assert.Contains("include_last_offset", error.Message);
    }

    [Theory]
    [InlineData(EmbeddingBagMode.Sum, 0.5, false)]
    [InlineData(EmbeddingBagMode.Mean, null, true)]
    public void BagsThatMustRunNativelyDo(EmbeddingBagMode mode, double? maxNorm, bool sparse)
    {
        using var scope = NewDisposeScope();
        using var module = nn.EmbeddingBag(Rows, Width, maxNorm, mode: mode, sparse: sparse);
        var input = tensor(new long[] { 0, 1, 1, 6 }).view(2, 2);
        Check(module, true, "forward", input, null, null);
        Assert.True(EmbeddingBagOptions.Of(module).MustRunNatively);
        using (no_grad()) Check(module, false, "forward", input, null, null);
    }

    [Fact]
    public void OneRowBagsKeepTheirMode()
    {
        using var scope = NewDisposeScope();
        foreach (var mode in new[] { EmbeddingBagMode.Sum, EmbeddingBagMode.Mean })
        {
            using var module = nn.EmbeddingBag(1, Width, mode: mode);
            Check(module, true, "forward", zeros([2, 3], dtype: ScalarType.Int64), null, null);
        }
    }
}
