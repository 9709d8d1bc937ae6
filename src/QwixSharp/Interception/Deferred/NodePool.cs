namespace QwixSharp.Interception.Deferred;

/// <summary>
/// Nodes that are used again: a model defers thousands of ops in a run, of which few wait at a time. A pool belongs to one graph,
/// and a graph that comes later on the thread takes it over.
/// </summary>
internal sealed class NodePool
{
    private const int MostNodes = 64;

    [ThreadStatic]
    private static NodePool? _idle;

    private readonly Stack<DeferredNode> _nodes = new(MostNodes);

    /// <summary>The pool for a graph.</summary>
    internal static NodePool Take()
    {
        var pool = _idle ?? new NodePool();
        _idle = null;
        return pool;
    }

    /// <summary>The graph is no more.</summary>
    internal void Return()
    {
        foreach (var node in _nodes) node.Clear();
        _idle = this;
    }

    /// <summary>A node that is new, or that was put back.</summary>
    internal DeferredNode Get() => _nodes.TryPop(out var node) ? node : new DeferredNode();

    /// <summary>Puts back a node that nobody needs, at the latest at the next <see cref="Get"/>.</summary>
    internal void Put(DeferredNode node)
    {
        if (node.Siblings is { } siblings) siblings[Array.IndexOf(siblings, node)] = null;
        // Views of views are followed back as long as the last of them is there.
        if (!node.Op.Rearranges && _nodes.Count < MostNodes) _nodes.Push(node);
    }
}
