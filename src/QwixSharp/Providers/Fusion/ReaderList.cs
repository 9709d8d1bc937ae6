using QwixSharp.Interception.Deferred;

namespace QwixSharp.Providers.Fusion;

/// <summary>The ops of a chain that read an op's result. Few results have more than two readers.</summary>
internal struct ReaderList
{
    private DeferredNode? _first, _second;
    private List<DeferredNode>? _others;

    /// <summary>How many there are; an op that reads a result twice counts twice.</summary>
    internal int Count { get; private set; }

    /// <summary>The one reader, or null where there are none or more.</summary>
    internal readonly DeferredNode? Single => Count == 1 ? _first : null;

    /// <summary>A reader, in the order in which they were added.</summary>
    internal readonly DeferredNode this[int index] => index switch
    {
        0 => _first!,
        1 => _second!,
        _ => _others![index - 2],
    };

    internal void Add(DeferredNode reader)
    {
        switch (Count++)
        {
            case 0:
                _first = reader;
                break;
            case 1:
                _second = reader;
                break;
            default:
                (_others ??= []).Add(reader);
                break;
        }
    }
}
