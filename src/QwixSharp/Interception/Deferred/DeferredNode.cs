using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>An op that a model has called and nothing has computed yet.</summary>
internal sealed class DeferredNode
{
    private readonly DeferredNode?[]? _sources;

    internal DeferredNode(DeferrableOp op, object?[] arguments, in DeferredCall call, Tensor tensor, DeferredNode?[]? sources)
    {
        Op = op;
        Arguments = arguments;
        Operands = call.Operands!;
        Shape = call.Shape!;
        Number = call.Number;
        Axis = call.Axis;
        Start = call.Start;
        Payload = call.Payload;
        IsContiguous = call.IsContiguous;
        Tensor = tensor;
        _sources = sources;
    }

    /// <summary>The op.</summary>
    internal DeferrableOp Op { get; }

    /// <summary>What it computes.</summary>
    internal OpKind Kind => Op.Kind;

    /// <summary>The arguments as the model passed them.</summary>
    internal object?[] Arguments { get; }

    /// <summary>The tensors that it reads, in the order of the arguments.</summary>
    internal Tensor[] Operands { get; }

    /// <summary>The shape of the result; not to be changed.</summary>
    internal long[] Shape { get; }

    /// <summary>The number of an op of a tensor and a number; NaN where both operands are tensors.</summary>
    internal double Number { get; }

    /// <summary>The axis of a part, a concatenation, a repetition or a mean, or the first of a transpose; 1 of causal attention.</summary>
    internal int Axis { get; }

    /// <summary>Where a part begins, or the second axis of a transpose.</summary>
    internal long Start { get; }

    /// <summary>Whether the result, computed as the model wrote it, is known to lie without gaps in row-major order.</summary>
    internal bool IsContiguous { get; }

    /// <summary>What the evaluator has found out about the op when it agreed to defer it.</summary>
    internal object? Payload { get; }

    /// <summary>The result: it has no native tensor until it is computed.</summary>
    internal Tensor Tensor { get; set; }

    /// <summary>The nodes that read the result.</summary>
    internal List<DeferredNode> Consumers { get; } = [];

    /// <summary>Whether it is to be computed as the model wrote it.</summary>
    internal bool IsPlain { get; set; }

    /// <summary>Whether the model can still reach the result; if not, only the nodes that read it need it.</summary>
    internal bool IsReachable { get; set; } = true;

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
    internal InterceptionScope? Scope { get; init; }

    /// <summary>The other results of the same call, in order, itself included; null where it has one result.</summary>
    internal DeferredNode[]? Siblings { get; set; }

    /// <summary>Which walk of the graph has been here last.</summary>
    internal int Visit { get; set; }

    /// <summary>Puts another tensor in the place of an operand.</summary>
    internal void Replace(Tensor operand, Tensor other)
    {
        Replace(Operands);
        for (var i = 0; i < Arguments.Length; i++)
        {
            if (ReferenceEquals(Arguments[i], operand)) Arguments[i] = other;
            else if (Arguments[i] is IList<Tensor> many) Replace(many);
        }

        void Replace(IList<Tensor> tensors)
        {
            for (var i = 0; i < tensors.Count; i++)
            {
                if (ReferenceEquals(tensors[i], operand)) tensors[i] = other;
            }
        }
    }

    /// <summary>The node that gives an operand, or null where it has its value.</summary>
    internal DeferredNode? Source(int operand) => _sources?[operand] is { HasValue: false } source ? source : null;

    /// <summary>The node that gave an operand, whether it is computed or not; null where none did.</summary>
    internal DeferredNode? Origin(int operand) => _sources?[operand];
}

/// <summary>What a call of a deferrable op means.</summary>
internal struct DeferredCall
{
    internal Tensor[]? Operands;
    internal long[]? Shape;
    internal double Number;
    internal int Axis;
    internal long Start;
    internal bool IsContiguous;
    internal object? Payload;

    /// <summary>Whether the result is written over the first operand.</summary>
    internal bool Overwrites;

    /// <summary>Whether the call returns an alias of the operand that it wrote over, instead of the operand itself.</summary>
    internal bool IsAliased;
}
