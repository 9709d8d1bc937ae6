using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;

namespace QwixSharp.LiteRT.Passes.Integers;

/// <summary>
/// Which integers each activation has. A fake-quant says so of its result, and of its operand too: that is never seen
/// otherwise. Ops that move data hand it on, in both directions.
/// </summary>
internal sealed class IntegerRanges
{
    private readonly Dictionary<GraphTensor, FakeQuant> _codes = [];

    /// <summary>Tensors whose codes are those behind an op that cuts values off.</summary>
    private readonly HashSet<GraphTensor> _cut = [];

    internal IntegerRanges(Graph graph)
    {
        var uses = new GraphUses(graph);
        foreach (var op in graph.Ops.Where(o => o.Op == BuiltinOp.FakeQuant))
        {
            var (input, codes) = (op.Inputs[0]!, op.Output.FakeQuant!);
            if (uses.Producer(input) is { } producer && codes.Type == LiteRtType.Int16 && IntegerOps.FixedOutput(producer.Op, codes.Type) is var (scale, zeroPoint))
                codes = codes with { Scales = [scale], ZeroPoint = zeroPoint };
            _codes[op.Output] = codes;
            TryAddOperand(input, codes, uses);
        }

        Spread(graph, uses);
    }

    internal FakeQuant? Of(GraphTensor? tensor) => tensor is null ? null : tensor.IsConstant ? tensor.FakeQuant : _codes.GetValueOrDefault(tensor);

    internal IEnumerable<GraphTensor> Tensors => _codes.Keys;

    /// <summary>An op that takes a tensor without a fake-quant, as comparisons do, is to see all of it: then the tensor stays as it is.</summary>
    private bool TryAddOperand(GraphTensor tensor, FakeQuant codes, GraphUses uses) =>
        uses.Readers(tensor).All(r => r.Op == BuiltinOp.FakeQuant || IntegerOps.Moves(r) || IntegerOps.Cuts(r)) && _codes.TryAdd(tensor, codes);

    /// <summary>Gives an input of an op the codes of its output. What was cut off on the way is kept where others want it.</summary>
    private bool TrySpreadBack(GraphOp op, GraphTensor input, FakeQuant codes, GraphUses uses)
    {
        bool cut = IntegerOps.Cuts(op) || op.Outputs.Any(_cut.Contains);
        if (cut && (uses.IsOutput(input) || !uses.Readers(input).All(r => r.Outputs.All(o => Of(o) is { } other && other.Same(codes)))))
            return false;
        if (!TryAddOperand(input, codes, uses))
            return false;
        if (cut)
            _cut.Add(input);
        return true;
    }

    private void Spread(Graph graph, GraphUses uses)
    {
        var ops = graph.Ops.Where(o => o.Output.Type == LiteRtType.Float32 && (IntegerOps.Moves(o) || IntegerOps.Cuts(o))).ToLookup(o => o.Outputs.Count > 1);
        // The parts of a tensor have the integers that those want who read them, before they have those of the whole.
        do
        {
            while (Spread(ops[false], uses))
            {
            }
        }
        while (Spread(ops[true], uses));
    }

    private bool Spread(IEnumerable<GraphOp> ops, GraphUses uses)
    {
        bool changed = false;
        foreach (var op in ops)
        {
            GraphTensor[] inputs = [.. IntegerOps.ValueInputs(op).Select(i => op.Inputs[i]!).Where(t => !t.IsConstant)];
            // The widest of several, so that none is cut off.
            if (op.Outputs.Select(Of).OfType<FakeQuant>().OrderByDescending(c => c.Scale).FirstOrDefault() is { } after)
            {
                changed |= op.Outputs.Count(t => _codes.TryAdd(t, after)) > 0;
                changed |= inputs.Count(t => TrySpreadBack(op, t, after, uses)) > 0;
            }
            else if (IntegerOps.Moves(op) && inputs.Select(Of).OfType<FakeQuant>().OrderByDescending(c => c.Scale).FirstOrDefault() is { } before)
                changed |= op.Outputs.Count(t => _codes.TryAdd(t, before)) > 0;
        }

        return changed;
    }
}
