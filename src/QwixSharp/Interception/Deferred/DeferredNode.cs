using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>An op that a model has called and nothing has computed yet.</summary>
internal sealed class DeferredNode
{
    private CallArguments _arguments;
    private Operands _operands;

    /// <summary>Becomes the node of a call; it was none, or has been emptied.</summary>
    internal void Begin(DeferrableOp op, in CallArguments arguments, in DeferredCall call, Tensor tensor, InterceptionScope? scope)
    {
        Op = op;
        _arguments = arguments;
        _operands = call.Operands;
        Shape = call.Shape!;
        Number = call.Number;
        UpperBound = call.UpperBound;
        Axis = call.Axis;
        Start = call.Start;
        Payload = call.Payload;
        IsContiguous = call.IsContiguous;
        Tensor = tensor;
        Scope = scope;
        IsReachable = true;
        Depth = 1;
        for (var i = 0; i < _operands.Length; i++)
        {
            if (_operands.Source(i) is not { } source) continue;
            source.Readers++;
            Depth = Math.Max(Depth, source.Depth + 1);
        }
    }

    /// <summary>Becomes nobody's node.</summary>
    internal void Empty()
    {
        ForgetOperands();
        (Op, Shape, Tensor) = (null!, null!, null!);
        (Payload, Memory, Scope, Siblings) = (null, null, null, null);
        (IsPlain, IsReachable, IsComputed) = (false, false, false);
        (Address, Readers, Visit) = (0, 0, 0);
    }

    /// <summary>The op.</summary>
    internal DeferrableOp Op { get; private set; } = null!;

    /// <summary>What it computes.</summary>
    internal OpKind Kind => Op.Kind;

    /// <summary>The tensors that it reads, in the order of the arguments.</summary>
    internal ref readonly Operands Operands => ref _operands;

    /// <summary>The shape of the result; not to be changed.</summary>
    internal long[] Shape { get; private set; } = null!;

    /// <summary>The number of an op of a tensor and a number; NaN where both operands are tensors; the lower bound of a clamp.</summary>
    internal double Number { get; private set; }

    /// <summary>The upper bound of a clamp.</summary>
    internal double UpperBound { get; private set; }

    /// <summary>The axis of a part, a concatenation, a repetition or a mean, or the first of a transpose; 1 of causal attention.</summary>
    internal int Axis { get; private set; }

    /// <summary>Where a part begins, or the second axis of a transpose.</summary>
    internal long Start { get; private set; }

    /// <summary>Whether the result, computed as the model wrote it, is known to lie without gaps in row-major order.</summary>
    internal bool IsContiguous { get; private set; }

    /// <summary>What the evaluator has found out about the op when it agreed to defer it.</summary>
    internal object? Payload { get; private set; }

    /// <summary>The result: it has no native tensor until it is computed.</summary>
    internal Tensor Tensor { get; set; } = null!;

    /// <summary>Whether it is to be computed as the model wrote it.</summary>
    internal bool IsPlain { get; set; }

    /// <summary>Whether the model can still reach the result; if not, only the nodes that read it need it.</summary>
    internal bool IsReachable { get; set; }

    /// <summary>Whether the result is a tensor with its value.</summary>
    internal bool IsComputed { get; set; }

    /// <summary>The memory that holds the value while no tensor does; or null.</summary>
    internal IDisposable? Memory { get; set; }

    /// <summary>Where the value lies in <see cref="Memory"/>.</summary>
    internal nint Address { get; set; }

    /// <summary>Whether the value is known, as a tensor or in <see cref="Memory"/>.</summary>
    internal bool HasValue => IsComputed || Memory is not null;

    /// <summary>How many nodes read the result and are not computed.</summary>
    internal int Readers { get; set; }

    /// <summary>The longest chain of nodes that end in this one.</summary>
    internal int Depth { get; set; }

    /// <summary>Where an op was called that the interceptor answers; null for other ops.</summary>
    internal InterceptionScope? Scope { get; private set; }

    /// <summary>The other results of the same call, in order, itself included; null where it has one result.</summary>
    internal DeferredNode[]? Siblings { get; set; }

    /// <summary>Which walk of the graph has been here last.</summary>
    internal int Visit { get; set; }

    /// <summary>Whether the result, computed as the model wrote it, shows the memory of its operand.</summary>
    internal bool IsView => Kind is OpKind.Part or OpKind.Transpose || (Kind == OpKind.Reshape && IsContiguous);

    /// <summary>Puts another tensor in the place of an operand.</summary>
    internal void Replace(Tensor operand, Tensor other)
    {
        for (var i = 0; i < _operands.Length; i++)
        {
            if (ReferenceEquals(_operands[i], operand)) _operands.Set(i, other, _operands.Source(i));
        }

        _arguments.Replace(operand, other);
    }

    /// <summary>Forgets what it reads: it has its value. Otherwise the ops of a whole run would hold on to each other.</summary>
    internal void ForgetOperands() => (_operands, _arguments) = (default, default);

    /// <summary>The arguments as the model passed them.</summary>
    internal object?[] Arguments() => _arguments.ToArray(Op.Parameters);

    /// <summary>The node that gives an operand, or null where it has its value.</summary>
    internal DeferredNode? Source(int operand) => _operands.Source(operand) is { HasValue: false } source ? source : null;

    /// <summary>The node that gave an operand, whether it is computed or not; null where none did.</summary>
    internal DeferredNode? Origin(int operand) => _operands.Source(operand);
}
