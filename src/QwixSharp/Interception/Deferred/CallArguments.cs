using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>
/// The arguments of a call of a deferrable op. Those of most ops need neither boxes nor an array, unless the op comes to be
/// computed as the model wrote it.
/// </summary>
internal struct CallArguments
{
    /// <summary>A call with more arguments has them in an array.</summary>
    internal const int MostPlaces = 8;

    private References _references;
    private Numbers _numbers;
    private object?[]? _boxed;

    /// <summary>An argument that is no number, or any argument of a call that has more than <see cref="MostPlaces"/>.</summary>
    internal readonly object? this[int place] => _boxed is null ? _references[place] : _boxed[place];

    /// <summary>Whether arguments of a type are kept as numbers: all others are kept as objects.</summary>
    internal static bool IsNumber(Type type) =>
        type == typeof(long) || type == typeof(int) || type == typeof(bool) || type == typeof(double) || type == typeof(float)
        || (type.IsEnum && Enum.GetUnderlyingType(type) == typeof(int));

    internal readonly Tensor? Tensor(int place) => this[place] as Tensor;

    internal readonly long Integer(int place) => _boxed is null ? _numbers[place] : Convert.ToInt64(_boxed[place]);

    internal readonly double Real(int place) => _boxed is null ? BitConverter.Int64BitsToDouble(_numbers[place]) : Convert.ToDouble(_boxed[place]);

    internal void Set(int place, object? argument)
    {
        if (_boxed is null) _references[place] = argument;
        else _boxed[place] = argument;
    }

    /// <summary>For emitted code: an integer, an enumeration or a truth value.</summary>
    internal void SetInteger(int place, long argument) => _numbers[place] = argument;

    /// <summary>For emitted code: a float or a double.</summary>
    internal void SetReal(int place, double argument) => _numbers[place] = BitConverter.DoubleToInt64Bits(argument);

    /// <summary>For emitted code: all arguments at once.</summary>
    internal void SetAll(object?[] arguments) => _boxed = arguments;

    /// <summary>Puts another tensor in the place of one.</summary>
    internal void Replace(Tensor tensor, Tensor other)
    {
        for (var i = 0; i < (_boxed?.Length ?? MostPlaces); i++)
        {
            if (ReferenceEquals(this[i], tensor)) Set(i, other);
            else if (this[i] is IList<Tensor> many) ReplaceIn(many);
        }

        void ReplaceIn(IList<Tensor> tensors)
        {
            for (var i = 0; i < tensors.Count; i++)
            {
                if (ReferenceEquals(tensors[i], tensor)) tensors[i] = other;
            }
        }
    }

    /// <summary>The arguments as an array.</summary>
    /// <param name="types">The types of the op's parameters.</param>
    internal readonly object?[] ToArray(Type[] types)
    {
        if (_boxed is not null) return _boxed;
        var arguments = new object?[types.Length];
        for (var i = 0; i < arguments.Length; i++) arguments[i] = IsNumber(types[i]) ? Box(types[i], i) : _references[i];
        return arguments;
    }

    private readonly object Box(Type type, int place)
    {
        if (type == typeof(long)) return _numbers[place];
        if (type == typeof(int)) return (int)_numbers[place];
        if (type == typeof(bool)) return _numbers[place] != 0;
        if (type == typeof(double)) return Real(place);
        return type == typeof(float) ? (float)Real(place) : Enum.ToObject(type, _numbers[place]);
    }

    [InlineArray(MostPlaces)]
    private struct References
    {
        private object? _first;
    }

    [InlineArray(MostPlaces)]
    private struct Numbers
    {
        private long _first;
    }
}
