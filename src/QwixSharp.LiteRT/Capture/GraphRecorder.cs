using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using QwixSharp.Arrays;
using QwixSharp.Interception;
using QwixSharp.LiteRT.Lowering;
using QwixSharp.Providers;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Capture;

/// <summary>
/// Records the ops of one forward pass. The model is given tensors without values, on the meta device, so that nothing is
/// computed and a model whose control flow depends on values fails where it reads them. What does not depend on the inputs
/// is computed for good: constants are folded as they are met.
/// </summary>
internal sealed class GraphRecorder : IForwardTracer
{
    private readonly Dictionary<Tensor, Cell> _cells = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<nint, string> _names = [];
    private readonly DisposeScope _keeper;

    /// <param name="model">The model, for the names of its parameters and buffers.</param>
    /// <param name="keeper">Takes the tensors that outlive the pass.</param>
    internal GraphRecorder(nn.Module model, DisposeScope keeper)
    {
        _keeper = keeper;
        foreach (var (name, tensor) in model.named_parameters().Select(p => (p.name, (Tensor)p.parameter)).Concat(model.named_buffers()))
        {
            if (tensor.NumberOfElements > 0 && tensor.device_type == DeviceType.CPU)
                _names.TryAdd(TensorMemory.Address(tensor), name);
        }
    }

    internal List<CapturedNode> Nodes { get; } = [];

    /// <summary>The last op that was met, for the message of an error that follows it.</summary>
    internal string LastPlace { get; private set; } = "the start of the model";

    /// <summary>The value-less tensor that stands for an input.</summary>
    internal (Tensor StandIn, CapturedTensor Captured) AddInput(Tensor example, string name)
    {
        var standIn = Keep(empty(example.shape, dtype: example.dtype, device: META));
        var captured = new CapturedTensor(example.shape, example.dtype, name);
        _cells[standIn] = new Cell(captured, new Memory());
        return (standIn, captured);
    }

    /// <summary>What a tensor that the model has returned stands for.</summary>
    internal CapturedTensor Find(Tensor tensor) => CellOf(tensor, "the model's result").Current("the model's result");

    public bool Wants(OpDescriptor op) => true;

    public object? Intercept(in OpCall call)
    {
        var op = OpKinds.ShortName(call.Op);
        var place = LastPlace = $"{op} in module \"{call.ModulePath}\"";
        bool dynamic = false;
        object?[] captured = [.. call.Arguments.Select(a => Capture(a, place, ref dynamic))];
        if (OpKinds.IsRandom(op))
            throw new LiteRtException($"{place} draws random numbers, which a file cannot. Call eval() on the model, or give the numbers as an input.");
        if (!dynamic || OpKinds.IsShapeOnly(op))
            return Fold(call, op);
        if (call.Op.Method.Name == "copy_" && captured is [CapturedTensor target, CapturedTensor values, ..] && target.Shape.SequenceEqual(values.Shape) && target.Dtype == values.Dtype)
            return Assign((Tensor)call.Arguments[0]!, values);
        if (call.Op.Method.Name is "set_TensorItems" or "index_put_" or "copy_")
            throw new LiteRtException($"{place} writes into a part of a tensor, which LiteRT cannot. Put the result together with torch.cat or torch.where.");
        return Record(call, op, captured, place);
    }

    public Tensor FakeQuant(Tensor tensor, FakeQuantAnnotation annotation, Func<Tensor> compute)
    {
        var place = $"{annotation.OpName} in module \"{annotation.ModulePath}\"";
        var captured = CellOf(tensor, place).Current(place);
        var quantized = Graphs.FakeQuant.Of(annotation);
        Tensor result;
        CapturedTensor output;
        if (captured.Constant is not null)
        {
            result = compute();
            output = new CapturedTensor(result.shape, result.dtype, captured.Name, Keep(result), quantized);
        }
        else
        {
            result = empty(tensor.shape, dtype: tensor.dtype, device: META);
            output = new CapturedTensor(result.shape, result.dtype, "", fakeQuant: quantized);
            Nodes.Add(new CapturedNode(CapturedNode.FakeQuant, ((Delegate)compute).Method, [captured], [output], annotation.ModulePath));
        }

        _cells[result] = new Cell(output, new Memory());
        return result;
    }

    /// <summary>Computes an op whose arguments are all constants.</summary>
    private object? Fold(in OpCall call, string op)
    {
        object?[] arguments = [.. call.Arguments.Select(a => a switch
        {
            Device { type: DeviceType.META } => CPU,
            Tensor { device_type: DeviceType.META } t => zeros([1], t.dtype).expand(t.shape),
            _ => a,
        })];
        var result = call.Proceed(arguments);
        if (OpKinds.IsInPlace(op))
            return result;
        // Moving data leaves a weight what it is, and its codes too; anything else makes new values.
        var first = call.Arguments.OfType<Tensor>().Select(t => _cells.GetValueOrDefault(t)?.Value).FirstOrDefault();
        var source = (Name: first?.Name ?? "", FakeQuant: OpKinds.IsView(op) ? first?.FakeQuant : null);
        foreach (var tensor in TensorsOf(result))
            _cells[tensor] = new Cell(new CapturedTensor(tensor.shape, tensor.dtype, source.Name, Keep(tensor.detach()), source.FakeQuant), new Memory());
        return result;
    }

    private Tensor Assign(Tensor target, CapturedTensor values)
    {
        _cells[target].Change(values);
        return target;
    }

    private object? Record(in OpCall call, string op, object?[] captured, string place)
    {
        if (OpKinds.IsAlias(op))
        {
            var source = (Tensor)call.Arguments[0]!;
            var alias = source.alias();
            _cells[alias] = _cells[source];
            return alias;
        }

        if (!OpTable.All.ContainsKey(OpKinds.IsInPlace(op) ? op[..^1] : op))
            throw new LiteRtException($"{place} cannot be exported: LiteRT has no op for it, or this library does not know it. The table of ops in docs/litert.md says what can be.");
        if (captured.OfType<object?[]>().Any(list => list.Any(i => i is CapturedTensor { Dtype: ScalarType.Bool })) && op is "index" or "get_TensorItems")
            throw new LiteRtException($"{place} cannot be exported: the shape of a selection by truth values depends on these. Use torch.where.");
        object? result;
        try
        {
            result = StandIns.Run(call, op);
        }
        catch (Exception error) when (error is ExternalException or NotImplementedException or InvalidOperationException)
        {
            throw new LiteRtException($"{place} cannot be exported: what it does depends on values that are known only when the model runs ({FirstLine(error)}).", error);
        }

        var results = TensorsOf(result).ToArray();
        CapturedTensor[] outputs = [.. results.Select(t => new CapturedTensor(t.shape, t.dtype, ""))];
        Nodes.Add(new CapturedNode(OpKinds.IsInPlace(op) ? op[..^1] : op, call.Op.Method, captured, outputs, call.ModulePath));
        if (OpKinds.IsInPlace(op) || OpKinds.IsMarkedInPlace(call))
        {
            var target = (Tensor)call.Arguments[0]!;
            _cells[target].Change(outputs[0]);
            var returned = call.Op.Method.Name is var name && OpKinds.IsInPlace(name) ? target : target.alias();
            _cells[returned] = _cells[target];
            return returned;
        }

        var memory = OpKinds.IsView(op) && call.Arguments[0] is Tensor viewed ? _cells[viewed].Memory : null;
        for (int i = 0; i < results.Length; i++)
            _cells[results[i]] = new Cell(outputs[i], memory ?? new Memory());
        return result;
    }

    private object? Capture(object? argument, string place, ref bool dynamic)
    {
        switch (argument)
        {
            case Tensor tensor:
                var captured = CellOf(tensor, place).Current(place);
                dynamic |= captured.Constant is null;
                return captured;
            case IEnumerable<Tensor> tensors:
                List<CapturedTensor> list = [];
                foreach (var tensor in tensors)
                {
                    list.Add(CellOf(tensor, place).Current(place));
                    dynamic |= list[^1].Constant is null;
                }

                return list.ToArray();
            case TensorIndex[] indices:
                var each = new object?[indices.Length];
                for (int i = 0; i < each.Length; i++)
                    each[i] = IndexParts.TensorOf(indices[i]) is { } inner ? Capture(inner, place, ref dynamic) : indices[i];
                return each;
            default:
                return argument;
        }
    }

    private Cell CellOf(Tensor tensor, string place)
    {
        if (_cells.TryGetValue(tensor, out var known))
            return known;
        if (tensor.device_type == DeviceType.META)
            throw new LiteRtException($"{place} takes a tensor that was made by code which interception cannot see. Interceptor.Inspect says where that is.");
        using var values = tensor.detach();
        var name = tensor.device_type == DeviceType.CPU && tensor.NumberOfElements > 0 ? _names.GetValueOrDefault(TensorMemory.Address(tensor), "") : "";
        return _cells[tensor] = new Cell(new CapturedTensor(tensor.shape, tensor.dtype, name, Keep(values.cpu())), new Memory());
    }

    private Tensor Keep(Tensor tensor)
    {
        // A view of the model's own tensor: the model may dispose its object, not this one.
        var kept = tensor.alias();
        _keeper.Attach(kept);
        return kept;
    }

    private static IEnumerable<Tensor> TensorsOf(object? result) => result switch
    {
        Tensor tensor => [tensor],
        IEnumerable<Tensor> tensors => tensors,
        ITuple tuple => Enumerable.Range(0, tuple.Length).Select(i => tuple[i]).OfType<Tensor>(),
        _ => [],
    };

    internal static string FirstLine(Exception error) => error.Message.Split('\n')[0];

    /// <summary>Memory that tensors may share: how often it was written.</summary>
    private sealed class Memory
    {
        internal int Version { get; set; }
    }

    /// <summary>What a tensor object stands for, which in-place ops change.</summary>
    private sealed class Cell(CapturedTensor value, Memory memory)
    {
        private int _version = memory.Version;

        internal CapturedTensor Value { get; private set; } = value;

        internal Memory Memory => memory;

        internal CapturedTensor Current(string place) => _version == memory.Version
            ? Value
            : throw new LiteRtException($"{place} takes a tensor that shares its memory with one that was changed in place. Use the op that makes a new tensor.");

        internal void Change(CapturedTensor value)
        {
            Value = value;
            _version = ++memory.Version;
        }
    }
}
