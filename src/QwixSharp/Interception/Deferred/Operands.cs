using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>A tensor that a deferred op reads.</summary>
/// <param name="Tensor">The tensor.</param>
/// <param name="Source">The node that gives its value; null where it had one when the op was called.</param>
internal readonly record struct Operand(Tensor Tensor, DeferredNode? Source);

/// <summary>A tensor that a deferred op may read, with or without a value. It stays on the stack.</summary>
internal readonly ref struct ReadableTensor(Operand operand, long[] shape, bool isContiguous)
{
    /// <summary>The tensor and its node.</summary>
    internal readonly Operand Operand = operand;

    /// <summary>Its shape; not to be changed.</summary>
    internal readonly long[] Shape = shape;

    /// <summary>Whether it is known to lie without gaps in row-major order.</summary>
    internal readonly bool IsContiguous = isContiguous;
}

/// <summary>The tensors that a deferred op reads, in the order of the arguments. Few ops have more than a batch norm.</summary>
internal struct Operands
{
    private const int Few = 5;

    private FewOperands _few;
    private Operand[]? _all;

    internal Operands(Operand one)
    {
        _few[0] = one;
        Length = 1;
    }

    internal Operands(Operand one, Operand other)
    {
        (_few[0], _few[1]) = (one, other);
        Length = 2;
    }

    /// <summary>Any number of operands.</summary>
    /// <param name="many">The operands; the array may be kept.</param>
    internal Operands(Operand[] many)
    {
        Length = many.Length;
        if (Length > Few) _all = many;
        else many.CopyTo(_few);
    }

    /// <summary>How many there are.</summary>
    internal int Length { get; private set; }

    /// <summary>A tensor.</summary>
    internal readonly Tensor this[int index] => At(index).Tensor;

    /// <summary>The node that gives the value of a tensor, whether it is computed or not; null where none does.</summary>
    internal readonly DeferredNode? Source(int index) => At(index).Source;

    /// <summary>Adds tensors that have values; null is left out.</summary>
    internal void Add(params ReadOnlySpan<Tensor?> values)
    {
        foreach (var value in values)
        {
            if (value is not null) Add(new Operand(value, null));
        }
    }

    /// <summary>Puts another operand in the place of one.</summary>
    internal void Set(int index, Tensor tensor, DeferredNode? source)
    {
        if (_all is not null) _all[index] = new(tensor, source);
        else _few[index] = new(tensor, source);
    }

    private readonly Operand At(int index) => _all is not null ? _all[index] : _few[index];

    private void Add(Operand operand)
    {
        if (Length < Few) _few[Length] = operand;
        else _all = _all is null ? [.. _few, operand] : [.. _all, operand];
        Length++;
    }

    [InlineArray(Few)]
    private struct FewOperands
    {
        private Operand _first;
    }
}
