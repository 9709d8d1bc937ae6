using QwixSharp.Interception.Deferred;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception.Deferred;

/// <summary>The nodes of a run are used again by the next, and by no other before.</summary>
public class NodeStoreTests
{
    private static readonly DeferrableOp Alias = DeferrableOp.Of(typeof(Tensor).GetMethod(nameof(Tensor.alias), [])!)!;

    [Fact]
    public void NodesOfARunThatIsOverComeBackEmpty()
    {
        using var scope = NewDisposeScope();
        var store = NodeStore.Rent();
        var source = Begin(store.Take(), zeros(2), null);
        var node = Begin(store.Take(), zeros(2), source);
        Assert.Equal(1, source.Readers);
        Assert.Equal(2, node.Depth);
        (node.IsPlain, node.IsComputed, node.Visit, node.Address, node.Siblings) = (true, true, 7, 64, [node]);
        store.Return();

        var next = NodeStore.Rent();
        Assert.Same(store, next);
        Assert.Same(source, next.Take());
        Assert.Same(node, next.Take());
        Assert.Equal(0, source.Readers);
        Assert.Null(node.Tensor);
        Assert.Null(node.Siblings);
        Assert.Equal(0, node.Operands.Length);
        Begin(node, zeros(3), null);
        Assert.True(node.IsReachable);
        Assert.False(node.HasValue || node.IsPlain);
        Assert.Equal((0, (nint)0, 1), (node.Visit, node.Address, node.Depth));
        next.Return();
    }

    [Fact]
    public void RunsAtTheSameTimeHaveNodesOfTheirOwn()
    {
        NodeStore outer = NodeStore.Rent(), inner = NodeStore.Rent();
        Assert.NotSame(outer.Take(), inner.Take());
        inner.Return();
        outer.Return();
    }

    [Fact]
    public void OfALongRunOnlyTheFirstNodesAreKept()
    {
        const int many = 1000;
        var store = NodeStore.Rent();
        var first = Enumerable.Range(0, many).Select(_ => store.Take()).ToHashSet();
        Assert.Equal(many, first.Count);
        store.Return();
        store = NodeStore.Rent();
        Assert.InRange(Enumerable.Range(0, many).Count(_ => first.Contains(store.Take())), 1, many / 2);
        store.Return();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(9)]
    public void OperandsKeepTheirOrderHoweverManyThereAre(int added)
    {
        using var scope = NewDisposeScope();
        Tensor one = zeros(1), other = zeros(1);
        var more = Enumerable.Range(0, added).Select(_ => zeros(1)).ToArray();
        var operands = new Operands(new Operand(one, null), new Operand(other, null));
        foreach (var tensor in more) operands.Add(null, tensor);
        var copy = operands;
        Assert.Equal(added + 2, operands.Length);
        Assert.Same(one, operands[0]);
        Assert.Same(other, operands[1]);
        for (var i = 0; i < added; i++) Assert.Same(more[i], operands[i + 2]);
        var changed = zeros(1);
        operands.Set(added + 1, changed, null);
        Assert.Same(changed, operands[added + 1]);
        Assert.Same(one, copy[0]);
    }

    private static DeferredNode Begin(DeferredNode node, Tensor tensor, DeferredNode? source)
    {
        var call = new DeferredCall { Operands = new Operands(new Operand(source?.Tensor ?? tensor, source)), Shape = [2] };
        node.Begin(Alias, default, call, tensor, null);
        return node;
    }
}
