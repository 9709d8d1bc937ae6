using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>
/// Places where copied code gathers tensors for a call: the array that it made last, and elements of the spans that the
/// compiler lays on the stack. What is stored there need not have a value yet.
/// </summary>
internal sealed class YoungPlaces
{
    private const int MostReferences = 8;

    private readonly nint[] _references = new nint[MostReferences];
    private int _next;

    /// <summary>The array that copied code made last; null after it may have been stored.</summary>
    internal Tensor[]? Array { get; set; }

    /// <summary>Remembers an element of a span on the stack.</summary>
    internal unsafe void Add(ref Tensor? element)
    {
        _references[_next] = (nint)Unsafe.AsPointer(ref element);
        _next = (_next + 1) % MostReferences;
    }

    /// <summary>Whether an element was remembered; it is forgotten with this.</summary>
    internal unsafe bool Take(ref object? element)
    {
        var address = (nint)Unsafe.AsPointer(ref element);
        for (var i = 0; i < MostReferences; i++)
        {
            if (_references[i] != address) continue;
            _references[i] = 0;
            return true;
        }

        return false;
    }
}
