namespace QwixSharp.Interception.Deferred;

/// <summary>Nodes that are used again by the next run on the same thread: a model defers the same ops every time.</summary>
/// <remarks>
/// A run that ends hands its nodes back, when nothing knows them any more. Only the first of a run are kept, since until then they hold on to
/// tensors whose nodes the collector would have freed.
/// </remarks>
internal sealed class NodeStore
{
    private const int Most = 256;

    [ThreadStatic]
    private static NodeStore? _idle;

    private readonly List<DeferredNode> _nodes = [];
    private int _used;

    /// <summary>A store that no other run uses.</summary>
    internal static NodeStore Rent()
    {
        var store = _idle ?? new NodeStore();
        _idle = null;
        return store;
    }

    /// <summary>A node that is empty.</summary>
    internal DeferredNode Take()
    {
        if (_used < _nodes.Count) return _nodes[_used++];
        var node = new DeferredNode();
        if (_used == Most) return node;
        _nodes.Add(node);
        _used++;
        return node;
    }

    /// <summary>The run is over.</summary>
    internal void Return()
    {
        for (var i = 0; i < _used; i++) _nodes[i].Empty();
        _used = 0;
        _idle = this;
    }
}
