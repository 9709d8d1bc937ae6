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
    private readonly DeferredGraph _graph;
    private readonly DeferredNode _root;
    private readonly List<DeferredNode> _nodes = [];
    private readonly Dictionary<DeferredNode, List<DeferredNode>> _readers = [];

    private ImageChain(DeferredNode root, DeferredGraph graph) => (_root, _graph) = (root, graph);

    /// <summary>The node that is needed.</summary>
    internal DeferredNode Root => _root;

    /// <summary>The ops in an order in which each comes after those that it reads.</summary>
    internal IReadOnlyList<DeferredNode> Nodes => _nodes;

    /// <summary>Computes a node if convolutions lead to it.</summary>
    /// <returns>Whether the node is computed now.</returns>
    internal static bool TryCompute(DeferredNode root, DeferredGraph graph)
    {
        if (!IsOnImages(root))
            return false;
        if (!root.IsPlain && Of(root, graph) is { } chain)
        {
            using var pass = new ImagePass(chain);
            if (pass.Run() is { } result)
            {
                graph.Give(root, result);
                return true;
            }

            // Values that have no codes: only the general way carries them on.
            foreach (var node in chain.Nodes)
                node.IsPlain = true;
        }

        if (root.Kind != OpKind.Convolution)
            return false;
        graph.Give(root, ByItself(root, graph));
        return true;
    }

    /// <summary>The op of the chain that gives an operand, or null where the operand has a value.</summary>
    internal DeferredNode? Source(DeferredNode node, int operand) =>
        ImageBefore(node, operand) is { } source && _readers.ContainsKey(source) ? source : null;

    /// <summary>The value of an operand that no op of the chain gives.</summary>
    internal Tensor Leaf(DeferredNode node, int operand) => _graph.Value(node, operand);

    /// <summary>The ops of the chain that read an op's result.</summary>
    internal List<DeferredNode> ReadersOf(DeferredNode node) => _readers[node];

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

    private static ImageChain? Of(DeferredNode root, DeferredGraph graph)
    {
        // Most sums are of no images at all: nothing is made for them.
        if (root.Kind != OpKind.Convolution && !HasImage(root))
            return null;
        while (true)
        {
            var chain = new ImageChain(root, graph);
            chain.Collect(root);
            if (!chain._nodes.Exists(n => n.Kind == OpKind.Convolution))
                return null;
            chain.ComputeLeaves();
            // What is no op on images was computed, and may have had some of the chain computed.
            if (!chain._nodes.Exists(n => n.HasValue))
                return chain;
        }
    }

    private void Collect(DeferredNode node)
    {
        _readers[node] = [];
        for (int i = 0; i < Images(node); i++)
        {
            if (ImageBefore(node, i) is not { } source)
                continue;
            if (!_readers.ContainsKey(source))
                Collect(source);
            _readers[source].Add(node);
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
        var product = payload.Layer.Compute(graph.Value(node, 0), payload.Scale.Scale, payload.Scale.ZeroPoint);
        return Arguments.AddBias(product, payload.Bias, mayWrite: true, featureAxis: 1).MoveToOuterDisposeScope();
    }
}
