using System.Runtime.InteropServices;
using QwixSharp.Interception;
using QwixSharp.Interception.Deferred;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception.Deferred;

/// <summary>Defers all that can be, and keeps the results of arithmetic in memory of its own as long as no tensor is needed.</summary>
internal sealed unsafe class KeepingInterceptor : IDefersOps, IDeferredEvaluator
{
    public IDeferredEvaluator? Evaluator => this;

    public ModulePaths? Paths => null;

    /// <summary>How many values were kept.</summary>
    internal int Kept { get; private set; }

    /// <summary>How many of them are still in memory.</summary>
    internal int Left { get; private set; }

    public bool Wants(OpDescriptor op) => false;

    public object? Intercept(in OpCall call) => throw new NotSupportedException();

    public bool MayRead(Tensor tensor) => true;

    public bool MayRearrange(Tensor tensor) => true;

    public bool Agrees(DeferrableOp op, in CallArguments arguments, long[] input, InterceptionScope scope, ref DeferredCall call) => false;

    /// <summary>How many copies were made while what they copied was no tensor.</summary>
    internal int Copies { get; private set; }

    public nint Locate(DeferredNode node, DeferredGraph graph, Span<long> strides) => throw new NotSupportedException();

    public bool TryCopy(Operand source, Operand target, DeferredGraph graph)
    {
        if (source.Source is not { } value) return false;
        graph.Prepare(value);
        if (value.IsComputed) return false;
        var view = target.Source is { } node ? graph.Value(node) : target.Tensor;
        using var copy = empty(value.Shape);
        Copy(value.Address, TensorInternals.Data(TensorInternals.Handle(copy)), copy.NumberOfElements);
        view.copy_(copy);
        Copies++;
        return true;
    }

    public bool TryCompute(DeferredNode node, DeferredGraph graph)
    {
        if (node.Kind is not (OpKind.Add or OpKind.Multiply or OpKind.Negate)) return false;
        using var scope = NewDisposeScope();
        var a = Value(node, 0, graph);
        var b = node.Operands.Length > 1 ? Value(node, 1, graph) : null;
        var result = node.Kind switch
        {
            OpKind.Negate => -a,
            OpKind.Add => b is null ? a + node.Number : a + b,
            _ => b is null ? a * node.Number : a * b,
        };
        var memory = new Memory(this, result);
        graph.Keep(node, memory, memory.Address);
        return true;
    }

    private static Tensor Value(DeferredNode node, int operand, DeferredGraph graph)
    {
        if (node.Origin(operand) is not { } source) return node.Operands[operand];
        graph.Prepare(source);
        if (source.IsComputed) return source.Tensor;
        var copy = empty(source.Shape);
        Copy(source.Address, TensorInternals.Data(TensorInternals.Handle(copy)), copy.NumberOfElements);
        return copy;
    }

    private static void Copy(nint from, nint to, long elements) => Buffer.MemoryCopy((void*)from, (void*)to, elements * sizeof(float), elements * sizeof(float));

    private sealed class Memory : IDisposable
    {
        private readonly KeepingInterceptor _owner;

        internal Memory(KeepingInterceptor owner, Tensor value)
        {
            _owner = owner;
            owner.Kept++;
            owner.Left++;
            Address = (nint)NativeMemory.Alloc((nuint)value.NumberOfElements, sizeof(float));
            using var contiguous = value.contiguous();
            Copy(TensorInternals.Data(TensorInternals.Handle(contiguous)), Address, contiguous.NumberOfElements);
        }

        internal nint Address { get; private set; }

        public void Dispose()
        {
            Assert.NotEqual(0, Address);
            NativeMemory.Free((void*)Address);
            Address = 0;
            _owner.Left--;
        }
    }
}
