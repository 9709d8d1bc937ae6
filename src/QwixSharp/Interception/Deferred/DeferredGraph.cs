using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>
/// The ops that a model has called and that are not computed yet, from the start of its run to the end, on one thread.
/// </summary>
/// <remarks>
/// A tensor without a value is known to the model's copied code alone: it may be in locals, arguments and on the evaluation
/// stack, and in arrays and spans that are there. Emitted code has it computed before it is stored anywhere else, before
/// code that is not copied gets it, and before what it is computed of changes or goes.
/// </remarks>
internal sealed partial class DeferredGraph
{
    /// <summary>Of longer chains the beginning is computed first, so that no walk goes deeper.</summary>
    private const int MostDepth = 400;

    /// <summary>When so many tensors are without values, all are computed.</summary>
    private const int MostNodes = 1000;

    [ThreadStatic]
    private static DeferredGraph? _current;

    private readonly IDeferredEvaluator _evaluator;
    private readonly List<DeferredNode> _reachable = [];
    private readonly List<DeferredNode> _temporary = [];
    private readonly LeafCache _leaves;
    private readonly List<DeferredNode> _consented = [];
    private NodeStore? _nodes;
    private DeferrableOp? _asking;
    private bool _hasNewcomers;
    private int _visit;
    private bool _busy;

    internal DeferredGraph(IDeferredEvaluator evaluator) => (_evaluator, _leaves) = (evaluator, new LeafCache(evaluator));

    /// <summary>The graph of the model that runs on this thread; null where nothing is deferred.</summary>
    internal static DeferredGraph? Current
    {
        get => _current;
        set => _current = value;
    }

    /// <summary>Arrays that were made last and may hold tensors without values.</summary>
    internal YoungPlaces Young { get; } = new();

    /// <summary>How many nodes there are so far: a mark for <see cref="Leave"/>.</summary>
    internal int Mark => _reachable.Count;

    /// <summary>For emitted code: defers a call.</summary>
    /// <returns>The result, without a value; or null where the call must be made now.</returns>
    internal object? TryDefer(DeferrableOp op, ref CallArguments arguments)
    {
        if (_busy) return null;
        if (_reachable.Count >= MostNodes) ComputeAll();
        var call = new DeferredCall();
        _asking = op;
        if (op.Rearranges && arguments.Tensor(0) is { } source && TensorInternals.Handle(source) != 0 && !_evaluator.MayRearrange(source)) return null;
        if (!op.Reader(this, ref arguments, ref call)) return null;
        Settle(ref call.Operands);
        if (op.Kind == OpKind.Copy) return Copy(call);
        if (call.Overwrites) return Overwrite(op, arguments, call);
        return op.IsSplit ? Split(op, arguments, call) : Add(op, arguments, call).Tensor;
    }

    /// <summary>Whether deferred ops may read a tensor, not if it has another type, a gradient, or is not on the CPU.</summary>
    internal bool TryRead(Tensor? tensor, out ReadableTensor readable)
    {
        readable = default;
        if (tensor is null) return false;
        if (TensorInternals.Handle(tensor) != 0) return _leaves.TryGet(tensor, out readable);
        if (Find(tensor) is not { } node) return false;
        readable = new(new(tensor, node), node.Shape, node.IsContiguous);
        return true;
    }

    /// <summary>The shape of a tensor that deferred ops may read; null for any other.</summary>
    internal long[]? ShapeOf(Tensor tensor) => TryRead(tensor, out var readable) ? readable.Shape : null;

    internal bool AsksFor(in CallArguments arguments, long[] shape, ref DeferredCall call) =>
        InterceptionScope.Current is { } scope && _evaluator.Agrees(_asking!, arguments, shape, scope, ref call);

    /// <summary>The nodes of a kind that needs consent that read the same input and are wanted, the given one first.</summary>
    internal List<DeferredNode> WaitingFor(DeferredNode node, int most)
    {
        List<DeferredNode> waiting = [node];
        foreach (var other in _consented)
        {
            var isAlike = other.Kind == node.Kind && ReferenceEquals(other.Operands[0], node.Operands[0]) && (other.IsReachable || other.Readers > 0);
            if (isAlike && other != node && waiting.Count < most) waiting.Add(other);
        }

        return waiting;
    }

    /// <summary>The node of a tensor without a value, or null.</summary>
    internal DeferredNode? Find(Tensor tensor)
    {
        for (var i = _reachable.Count - 1; i >= 0; i--)
        {
            if (ReferenceEquals(_reachable[i].Tensor, tensor)) return _reachable[i];
        }

        return null;
    }

    /// <summary>Computes a tensor without a value. One that was disposed stays as it is.</summary>
    internal void Compute(Tensor tensor)
    {
        if (Find(tensor) is { } node) Compute(node);
    }

    /// <summary>Gives a node its value, as a tensor.</summary>
    internal void Compute(DeferredNode node)
    {
        if (node.IsComputed) return;
        if (!node.HasValue)
        {
            var wanted = _wanted;
            _wanted = node;
            try
            {
                Evaluate(node);
            }
            finally
            {
                _wanted = wanted;
            }
        }

        if (!node.IsComputed) MakeTensor(node);
    }

    private void Evaluate(DeferredNode node)
    {
        var wasBusy = _busy;
        _busy = true;
        try
        {
            if (!_evaluator.TryCompute(node, this)) ComputeAsWritten(node);
        }
        finally
        {
            _busy = wasBusy;
        }
    }

    /// <summary>The value of an operand, which is computed if need be.</summary>
    internal Tensor Value(DeferredNode node, int operand)
    {
        if (node.Origin(operand) is { } source) Compute(source);
        return node.Operands[operand];
    }

    /// <summary>The value of a node, which is computed if need be.</summary>
    internal Tensor Value(DeferredNode node)
    {
        Compute(node);
        return node.Tensor;
    }

    /// <summary>Makes a tensor the value of a node; the object that is given is empty afterwards.</summary>
    internal void Give(DeferredNode node, Tensor value)
    {
        Assign(node, value);
        ReleaseOperands(node);
        node.ForgetOperands();
        if (node.Readers == 0) Retire(node);
    }

    private void Assign(DeferredNode node, Tensor value)
    {
        // TorchSharp has counted the one object, and will count the end of the other.
        TensorInternals.Handle(node.Tensor) = TensorInternals.Take(value);
        if (node.IsReachable) TensorInternals.Join(node.Tensor);
        node.IsComputed = true;
        if (node.Op.NeedsConsent) _consented.Remove(node);
        if (node.IsReachable) _reachable.Remove(node);
        else _temporary.Add(node);
    }

    /// <summary>Computes every tensor that the model can still reach.</summary>
    internal void ComputeAll()
    {
        _leaves.Clear();
        while (_reachable.Count > 0) Compute(_reachable[0]);
    }

    /// <summary>A tensor is about to be disposed: what is computed of it is computed first. One without a value never gets any.</summary>
    internal void Disposing(Tensor tensor)
    {
        if (TensorInternals.Handle(tensor) != 0) ComputeReadersOf(new Leaves { One = tensor });
        else if (Find(tensor) is { } node) Forget(node);
    }

    /// <summary>A scope is about to dispose its tensors.</summary>
    internal void Ending(DisposeScope scope)
    {
        for (var i = _reachable.Count - 1; i >= 0; i--)
        {
            if (ReferenceEquals(TensorInternals.OwningScope(_reachable[i].Tensor), scope)) Forget(_reachable[i]);
        }

        if (scope.DisposablesCount > 0) ComputeReadersOf(new Leaves { Scope = scope });
    }

    /// <summary>Somebody is about to look into scopes: tensors without values are there too.</summary>
    internal void JoinScopes()
    {
        if (!_hasNewcomers) return;
        _hasNewcomers = false;
        foreach (var node in _reachable) TensorInternals.Enlist(node.Tensor);
    }

    /// <summary>A module's method has returned: what it has deferred and not returned cannot be reached any more.</summary>
    /// <param name="mark">What <see cref="Mark"/> was when the method was called.</param>
    /// <param name="result">What it returns.</param>
    internal void Leave(int mark, object? result)
    {
        for (var i = _reachable.Count - 1; i >= mark; i--)
        {
            if (!IsReturned(_reachable[i].Tensor, result)) Forget(_reachable[i]);
        }
    }

    private static bool IsReturned(Tensor tensor, object? result)
    {
        if (result is not Tensor[] many) return ReferenceEquals(tensor, result);
        foreach (var one in many)
        {
            if (ReferenceEquals(one, tensor)) return true;
        }

        return false;
    }

    /// <summary>The run is over: what is left cannot be reached.</summary>
    internal void End()
    {
        while (_reachable.Count > 0) Forget(_reachable[^1]);
        foreach (var node in _temporary) node.Tensor.Dispose();
        _temporary.Clear();
        while (_kept.Count > 0) Free(_kept[^1]);
        _nodes?.Return();
        _nodes = null;
    }

    private DeferredNode Add(DeferrableOp op, in CallArguments arguments, in DeferredCall call)
    {
        var node = Make(op, arguments, call, TensorInternals.Empty());
        _hasNewcomers = true;
        _reachable.Add(node);
        return node;
    }

    private DeferredNode Make(DeferrableOp op, in CallArguments arguments, in DeferredCall call, Tensor tensor)
    {
        var node = (_nodes ??= NodeStore.Rent()).Take();
        node.Begin(op, arguments, call, tensor, op.NeedsConsent ? InterceptionScope.Current : null);
        if (op.NeedsConsent) _consented.Add(node);
        return node;
    }

    /// <summary>Has what ends too long a chain computed.</summary>
    private void Settle(ref Operands operands)
    {
        for (var i = 0; i < operands.Length; i++)
        {
            if (operands.Source(i) is { Depth: >= MostDepth } deep) Compute(deep);
        }

        for (var i = 0; i < operands.Length; i++)
        {
            if (operands.Source(i) is { IsComputed: true }) operands.Set(i, operands[i], null);
        }
    }

    private Tensor[] Split(DeferrableOp op, in CallArguments arguments, DeferredCall call)
    {
        var source = ShapeOf(call.Operands[0])!;
        var siblings = new DeferredNode[source[call.Axis] / call.Shape![call.Axis]];
        var tensors = new Tensor[siblings.Length];
        for (var i = 0; i < siblings.Length; i++, call.Start += call.Shape[call.Axis])
        {
            var node = siblings[i] = Add(op, arguments, call);
            node.Siblings = siblings;
            tensors[i] = node.Tensor;
        }

        return tensors;
    }

    private void ComputeAsWritten(DeferredNode node)
    {
        for (var i = 0; i < node.Operands.Length; i++) Value(node, i);
        if (node.HasValue) return;
        // What was deferred while no gradients were recorded has none, whenever it is computed.
        using var noGrad = TensorInternals.GradientsAreRecorded() ? no_grad() : null;
        var result = node.Scope is { } scope ? scope.Dispatch<Tensor>(node.Op.Descriptor, node.Arguments()) : node.Op.Descriptor.Call(node.Arguments());
        if (result is Tensor tensor)
        {
            Give(node, tensor);
            return;
        }

        var (parts, siblings) = ((Tensor[])result!, node.Siblings!);
        for (var i = 0; i < parts.Length; i++)
        {
            var isWanted = !siblings[i].HasValue && (siblings[i].IsReachable || siblings[i].Readers > 0);
            if (isWanted) Give(siblings[i], parts[i]);
            else parts[i].Dispose();
        }
    }

    /// <summary>The model cannot reach a node's tensor any more.</summary>
    private void Forget(DeferredNode node)
    {
        _reachable.Remove(node);
        node.IsReachable = false;
        TensorInternals.Leave(node.Tensor);
        if (node.Readers > 0) return;
        if (!node.HasValue) ReleaseOperands(node);
        Retire(node);
    }

    /// <summary>A node reads its operands no more: it is computed, or nobody wants it.</summary>
    private void ReleaseOperands(DeferredNode node)
    {
        if (node.Op.NeedsConsent && !node.HasValue) _consented.Remove(node);
        for (var i = 0; i < node.Operands.Length; i++)
        {
            // The model's own tensor with a value needs no node.
            if (node.Origin(i) is not { } source || --source.Readers > 0 || (source.IsReachable && !source.IsComputed)) continue;
            if (!source.HasValue) ReleaseOperands(source);
            Retire(source);
        }
    }

    /// <summary>
    /// Nobody needs a node. Its value is freed if the model could not reach it when it was computed; others belong to the model.
    /// </summary>
    private void Retire(DeferredNode node)
    {
        if (node.Memory is not null) Free(node);
        else if (node.IsComputed && !node.IsReachable && _temporary.Remove(node)) node.Tensor.Dispose();
    }

    /// <summary>Computes the reachable nodes that read certain tensors with values, through others or by themselves.</summary>
    private void ComputeReadersOf(Leaves leaves)
    {
        // Until something is computed, what one walk has seen need not be seen by the next.
        _visit++;
        for (var i = 0; i < _reachable.Count;)
        {
            if ((leaves.SpareViews && Viewed(_reachable[i].Tensor, _reachable[i]) is not null) || !Reads(_reachable[i], leaves))
            {
                i++;
                continue;
            }

            Prepare(_reachable[i]);
            _visit++;
            i = 0;
        }
    }

    private bool Reads(DeferredNode node, in Leaves leaves)
    {
        if (node.Visit == _visit) return false;
        node.Visit = _visit;
        for (var i = 0; i < node.Operands.Length && !node.HasValue; i++)
        {
            if (node.Source(i) is { } source ? Reads(source, leaves) : leaves.Contains(node.Operands[i])) return true;
        }

        return false;
    }

    /// <summary>Tensors with values: one, those of a scope, or those that lie in some memory.</summary>
    private readonly struct Leaves
    {
        internal Tensor? One { get; init; }

        internal DisposeScope? Scope { get; init; }

        internal (nint From, nint To) Memory { get; init; }

        /// <summary>Whether nodes that just show them are no readers.</summary>
        internal bool SpareViews { get; init; }

        internal bool Contains(Tensor leaf)
        {
            if (One is not null) return ReferenceEquals(leaf, One);
            if (Scope is not null) return ReferenceEquals(TensorInternals.OwningScope(leaf), Scope);
            return TensorInternals.Handle(leaf) is var handle and not 0 && TensorInternals.Memory(handle) is var (from, to) && from < Memory.To && Memory.From < to;
        }
    }
}
