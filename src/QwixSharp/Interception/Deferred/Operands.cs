using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>A tensor that a deferred op may read, with or without a value.</summary>
/// <param name="Tensor">The tensor.</param>
/// <param name="Source">The node that gives its value; null where it has one.</param>
/// <param name="Shape">Its shape; not to be changed.</param>
/// <param name="IsContiguous">Whether it is known to lie without gaps in row-major order.</param>
internal readonly record struct ReadableTensor(Tensor Tensor, DeferredNode? Source, long[] Shape, bool IsContiguous);

/// <summary>The tensors that a deferred op reads, in the order of the arguments, and the nodes that give their values. Few ops have more than two.</summary>
internal struct Operands
{
    private (Tensor? Tensor, DeferredNode? Source) _first, _second;
    private (Tensor? Tensor, DeferredNode? Source)[]? _all;

    internal Operands(in ReadableTensor one)
    {
        _first = (one.Tensor, one.Source);
        Length = 1;
    }

    internal Operands(in ReadableTensor one, in ReadableTensor other) : this(one)
    {
        _second = (other.Tensor, other.Source);
        Length = 2;
    }

    internal Operands(ReadOnlySpan<ReadableTensor> many)
    {
        Length = many.Length;
        if (Length > 0) _first = (many[0].Tensor, many[0].Source);
        if (Length > 1) _second = (many[1].Tensor, many[1].Source);
        if (Length <= 2) return;
        _all = new (Tensor?, DeferredNode?)[many.Length];
        for (var i = 0; i < many.Length; i++) _all[i] = (many[i].Tensor, many[i].Source);
    }

    /// <summary>How many there are.</summary>
    internal int Length { get; private set; }

    /// <summary>A tensor.</summary>
    internal readonly Tensor this[int index] => (_all is not null ? _all[index] : index == 0 ? _first : _second).Tensor!;

    /// <summary>The node that gives the value of a tensor, whether it is computed or not; null where none does.</summary>
    internal readonly DeferredNode? Source(int index) => (_all is not null ? _all[index] : index == 0 ? _first : _second).Source;

    /// <summary>Adds tensors that have values.</summary>
    internal void Add(params ReadOnlySpan<Tensor> values)
    {
        var many = new ReadableTensor[Length + values.Length];
        for (var i = 0; i < many.Length; i++) many[i] = i < Length ? new(this[i], Source(i), [], false) : new(values[i - Length], null, [], false);
        this = new(many);
    }

    /// <summary>Puts another operand in the place of one.</summary>
    internal void Set(int index, Tensor tensor, DeferredNode? source)
    {
        if (_all is not null) _all[index] = (tensor, source);
        else if (index == 0) _first = (tensor, source);
        else _second = (tensor, source);
    }
}
