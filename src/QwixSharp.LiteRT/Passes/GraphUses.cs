using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;

namespace QwixSharp.LiteRT.Passes;

/// <summary>Who computes and who reads the tensors of a graph, as it is now.</summary>
internal sealed class GraphUses
{
    private readonly Dictionary<GraphTensor, GraphOp> _producers = [];
    private readonly Dictionary<GraphTensor, List<GraphOp>> _readers = [];
    private readonly HashSet<GraphTensor> _outputs;
    private readonly Dictionary<nint, int> _constants = [];

    internal GraphUses(Graph graph)
    {
        _outputs = [.. graph.Outputs.Select(o => o.Tensor)];
        foreach (var op in graph.Ops)
        {
            foreach (var output in op.Outputs)
                _producers[output] = op;
            foreach (var input in op.Inputs.OfType<GraphTensor>().Distinct())
            {
                if (!_readers.TryGetValue(input, out var readers))
                    _readers[input] = readers = [];
                readers.Add(op);
                if (input.Stored is { } values)
                    _constants[Arrays.TensorMemory.Address(values)] = _constants.GetValueOrDefault(Arrays.TensorMemory.Address(values)) + 1;
            }
        }
    }

    internal GraphOp? Producer(GraphTensor? tensor) => tensor is null ? null : _producers.GetValueOrDefault(tensor);

    internal IReadOnlyList<GraphOp> Readers(GraphTensor tensor) => _readers.GetValueOrDefault(tensor) ?? [];

    internal bool IsOutput(GraphTensor tensor) => _outputs.Contains(tensor);

    /// <summary>The op that computes a tensor, if nothing else needs its result.</summary>
    internal GraphOp? OnlyFor(GraphTensor? tensor, BuiltinOp? kind = null) =>
        Producer(tensor) is { } producer && producer.Outputs.Count == 1 && !IsOutput(tensor!) && Readers(tensor!).Count == 1 && (kind is null || producer.Op == kind) ? producer : null;

    /// <summary>Whether several ops use the memory of a constant: a changed copy of it would be stored beside it.</summary>
    internal bool IsShared(GraphTensor constant) => _constants.GetValueOrDefault(Arrays.TensorMemory.Address(constant.Stored!)) > 1;
}
