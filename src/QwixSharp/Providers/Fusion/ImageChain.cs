using System.Runtime.InteropServices;
using QwixSharp.Interception.Deferred;
using QwixSharp.Providers.OpMap;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>
/// The deferred ops on images that lead to one that is needed: convolutions and what follows them. Batch norm, an addition and an
/// activation are computed in the convolution's own pass, and convolutions hand each other codes; float32 values are kept only
/// where something else reads them.
/// </summary>
internal sealed class ImageChain
{
    /// <summary>Kept for the next chain of the thread: a model has the same chains at every run.</summary>
    [ThreadStatic]
    private static ImageChain? _cached;

    private readonly List<DeferredNode> _nodes = [];
    private readonly Dictionary<DeferredNode, ReaderList> _readers = [];
    private DeferredGraph _graph = null!;

    /// <summary>The node that is needed.</summary>
    internal DeferredNode Root { get; private set; } = null!;

    /// <summary>The ops in an order in which each comes after those that it reads.</summary>
    internal List<DeferredNode> Nodes => _nodes;

    /// <summary>Computes a node if convolutions lead to it.</summary>
    /// <returns>Whether the node is computed now.</returns>
    internal static bool TryCompute(DeferredNode root, DeferredGraph graph)
    {
        if (!IsOnImages(root))
            return false;
        // Most sums are of no images at all: nothing is looked at for them.
        if (!root.IsPlain && (root.Kind == OpKind.Convolution || HasImage(root)) && TryComputeChain(root, graph))
            return true;
        if (root.Kind != OpKind.Convolution)
            return false;
        graph.Give(root, ByItself(root, graph));
        return true;
    }

    private static bool TryComputeChain(DeferredNode root, DeferredGraph graph)
    {
        var chain = _cached ?? new ImageChain();
        _cached = null;
        try
        {
            if (!chain.Begin(root, graph))
                return false;
            if (ImagePass.Run(chain) is { } result)
            {
                graph.Give(root, result);
                return true;
            }

            // Values that have no codes: only the general way carries them on.
            foreach (var node in chain.Nodes)
                node.IsPlain = true;
            return false;
        }
        finally
        {
            chain.Clear();
            _cached = chain;
        }
    }

    /// <summary>The op of the chain that gives an operand, or null where the operand has a value.</summary>
    internal DeferredNode? Source(DeferredNode node, int operand) =>
        ImageBefore(node, operand) is { } source && _readers.ContainsKey(source) ? source : null;

    /// <summary>The value of an operand that no op of the chain gives.</summary>
    internal Tensor Leaf(DeferredNode node, int operand) => _graph.Value(node, operand);

    /// <summary>The ops of the chain that read an op's result.</summary>
    internal ref readonly ReaderList ReadersOf(DeferredNode node) => ref CollectionsMarshal.GetValueRefOrNullRef(_readers, node);

    /// <summary>How many operands of an op are images.</summary>
    internal static int Images(DeferredNode node) => node.Kind is OpKind.Add or OpKind.Multiply ? 2 : 1;

    /// <summary>
    /// The operand of a product that has one number for each channel of an image, found by ops on images too; or null where it is no
    /// such product. Others would be computed before the chain, and the ops before them twice.
    /// </summary>
    internal static int? Gate(DeferredNode product)
    {
        for (int i = 0; i < 2 && product.Operands.Length == 2; i++)
        {
            if (Computed(product, i) is { Shape: [_, _, 1, 1] } gate && Computed(product, 1 - i) is { } image && image.Shape.AsSpan().SequenceEqual(product.Shape) && IsFactor(gate) && IsFactor(image))
                return i;
        }

        return null;

        // Products of products are not looked into: that would take ever longer.
        static bool IsFactor(DeferredNode node) => node is { IsPlain: false, Kind: not OpKind.Multiply } && IsOnImages(node);
    }

    /// <summary>Collects the chain that leads to a node.</summary>
    /// <returns>Whether there are convolutions in it.</returns>
    private bool Begin(DeferredNode root, DeferredGraph graph)
    {
        (Root, _graph) = (root, graph);
        while (true)
        {
            Collect(root);
            if (!_nodes.Exists(n => n.Kind == OpKind.Convolution))
                return false;
            ComputeLeaves();
            // What is no op on images was computed, and may have had some of the chain computed.
            if (!_nodes.Exists(n => n.HasValue))
                return true;
            _nodes.Clear();
            _readers.Clear();
        }
    }

    private void Clear()
    {
        _nodes.Clear();
        _readers.Clear();
        (Root, _graph) = (null!, null!);
    }

    private void Collect(DeferredNode node)
    {
        _readers[node] = default;
        for (int i = 0; i < Images(node); i++)
        {
            if (ImageBefore(node, i) is not { } source)
                continue;
            if (!_readers.ContainsKey(source))
                Collect(source);
            CollectionsMarshal.GetValueRefOrNullRef(_readers, source).Add(node);
        }

        _nodes.Add(node);
    }

    private void ComputeLeaves()
    {
        foreach (var node in _nodes)
        {
            for (int i = 0; i < Images(node); i++)
            {
                if (ImageBefore(node, i) is null)
                    _graph.Value(node, i);
            }
        }
    }

    private static bool HasImage(DeferredNode node)
    {
        for (int i = 0; i < Images(node); i++)
        {
            if (ImageBefore(node, i) is not null)
                return true;
        }

        return false;
    }

    /// <summary>The op on images that gives an operand, or null.</summary>
    private static DeferredNode? ImageBefore(DeferredNode node, int operand)
    {
        var source = Computed(node, operand);
        return source is { IsPlain: false } && IsOnImages(source) ? source : null;
    }

    /// <summary>The op that computes an operand, of which nodes between are only aliases; or null.</summary>
    private static DeferredNode? Computed(DeferredNode node, int operand)
    {
        var source = node.Source(operand);
        while (source is { Kind: OpKind.Reshape } && source.Shape.AsSpan().SequenceEqual(source.Source(0)?.Shape))
            source = source.Source(0);
        return source;
    }

    private static bool IsOnImages(DeferredNode node) => node.Shape.Length == 4 && node.Kind switch
    {
        OpKind.Convolution or OpKind.BatchNorm or OpKind.MaxPool or OpKind.AveragePool or OpKind.Clamp or OpKind.HardSigmoid or OpKind.HardSwish => true,
        OpKind.Add => node.Operands.Length == 2,
        OpKind.Multiply => Gate(node) is not null,
        _ => false,
    };

    private static Tensor ByItself(DeferredNode node, DeferredGraph graph)
    {
        using var scope = NewDisposeScope();
        var payload = (ConvolutionPayload)node.Payload!;
        var input = graph.Value(node, 0);
        var product = payload.Scale is { } scale ? payload.Layer.Compute(input, scale.Scale, scale.ZeroPoint) : payload.Layer.Compute(input);
        return Arguments.AddBias(product, payload.Bias, mayWrite: true, featureAxis: 1).MoveToOuterDisposeScope();
    }
}
