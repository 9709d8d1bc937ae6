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

/// <summary>The tensors that a deferred op reads, in the order of the arguments. Few ops have more than two.</summary>
internal struct Operands
{
    private Operand _first, _second;
    private Operand[]? _all;

    internal Operands(Operand one)
    {
        _first = one;
        Length = 1;
    }

    internal Operands(Operand one, Operand other)
    {
        (_first, _second) = (one, other);
        Length = 2;
    }

    /// <summary>Any number of operands.</summary>
    /// <param name="many">The operands; the array is kept.</param>
    internal Operands(Operand[] many)
    {
        Length = many.Length;
        if (Length > 0) _first = many[0];
        if (Length > 1) _second = many[1];
        if (Length > 2) _all = many;
    }

    /// <summary>How many there are.</summary>
    internal int Length { get; private set; }

    /// <summary>A tensor.</summary>
    internal readonly Tensor this[int index] => _all is not null ? _all[index].Tensor : index == 0 ? _first.Tensor : _second.Tensor;

    /// <summary>The node that gives the value of a tensor, whether it is computed or not; null where none does.</summary>
    internal readonly DeferredNode? Source(int index) => _all is not null ? _all[index].Source : index == 0 ? _first.Source : _second.Source;

    /// <summary>Adds tensors that have values; null is left out.</summary>
    internal void Add(params ReadOnlySpan<Tensor?> values)
    {
        var added = 0;
        foreach (var value in values) added += value is null ? 0 : 1;
        if (added == 0) return;
        var many = new Operand[Length + added];
        var next = 0;
        for (; next < Length; next++) many[next] = new(this[next], Source(next));
        foreach (var value in values)
        {
            if (value is not null) many[next++] = new(value, null);
        }

        this = new(many);
    }

    /// <summary>Puts another operand in the place of one.</summary>
    internal void Set(int index, Tensor tensor, DeferredNode? source)
    {
        if (_all is not null) _all[index] = new(tensor, source);
        else if (index == 0) _first = new(tensor, source);
        else _second = new(tensor, source);
    }
}
