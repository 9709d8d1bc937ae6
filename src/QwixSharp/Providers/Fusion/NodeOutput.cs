using QwixSharp.Arrays;
using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>
/// Where the value of a node is written, without gaps: a tensor if one is needed, else memory that is lent for it. What was not given
/// to the node goes back when this is disposed.
/// </summary>
internal readonly struct NodeOutput : IDisposable
{
    private readonly DeferredNode _node;
    private readonly Tensor? _tensor;
    private readonly LentMemory? _memory;

    /// <summary>Takes room for a value. It is to be made after what the node reads has been computed.</summary>
    internal NodeOutput(DeferredNode node, DeferredGraph graph)
    {
        _node = node;
        if (graph.IsWanted(node))
        {
            _tensor = empty(node.Shape, dtype: ScalarType.Float32);
            Address = TensorMemory.Address(_tensor);
        }
        else
        {
            _memory = new LentMemory(ShapeReaders.Count(node.Shape));
            Address = _memory.Address;
        }
    }

    /// <summary>The first element.</summary>
    internal nint Address { get; }

    /// <summary>Says that the value is written: it is the node's now.</summary>
    internal void Give(DeferredGraph graph)
    {
        if (_memory is not null)
            graph.Keep(_node, _memory, Address);
        else
            graph.Give(_node, _tensor!);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_node is null || _node.HasValue)
            return;
        _memory?.Dispose();
        _tensor?.Dispose();
    }
}
