using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Threading;

/// <summary>
/// Fetches what the jobs to come will read while a thread has none: a model reads the same weights in the same order at every call. With
/// few rows its products take as long as reading their weights does, and between them memory would be idle.
/// </summary>
/// <remarks>It belongs to one thread. Fetching memory that is gone has no effect, so nothing is kept alive for it.</remarks>
internal sealed unsafe class ReadAhead
{
    private const int Line = 64, LinesAtOnce = 16, MostNotes = 16;

    /// <summary>What lies further ahead would push out of the caches what comes before it.</summary>
    private const long MostBytes = 4 << 20;

    /// <summary>How many blocks what was fetched may be ahead of the job that ends.</summary>
    private const int MostBlocks = 32;

    private readonly ReadBlock[] _noted = new ReadBlock[MostNotes];
    private int _notes;
    private ReadBlock? _last;
    private ReadBlock? _block;
    private long _offset;
    private long _ahead;

    /// <summary>Where fetching goes on; 0 where nothing is to be fetched.</summary>
    public nint Next => _block is null || _ahead >= MostBytes ? 0 : _block.Address + (nint)_offset;

    /// <summary>Remembers what a job reads, in order.</summary>
    public void Note(ReadBlock block)
    {
        if (_notes < MostNotes)
            _noted[_notes++] = block;
    }

    /// <summary>The job is over: what it has read is put in the order of things, and fetching goes on behind it.</summary>
    public void Settle()
    {
        if (_notes == 0)
            return;
        foreach (var block in _noted.AsSpan(0, _notes))
        {
            if (_last is not null && _last.Next != block)
                _last.Next = block;
            _last = block;
            // Behind the times: the job has fetched the rest itself.
            if (block == _block)
                _block = null;
        }
        _notes = 0;
        _ahead = _offset;
        var next = _last!.Next;
        for (var i = 0; i < MostBlocks && next is not null && _block is not null; i++, next = next.Next)
        {
            if (next == _block)
                return;
            _ahead += next.Bytes;
        }
        (_block, _offset, _ahead) = (_last.Next, 0, 0);
    }

    /// <summary>Fetches a little more.</summary>
    /// <returns>Whether there was anything to fetch.</returns>
    public bool Step()
    {
        var from = (byte*)Next;
        if (!Sse.IsSupported || from == null)
            return false;
        for (var i = 0; i < LinesAtOnce; i++)
            Sse.Prefetch1(from + i * Line);
        _offset += LinesAtOnce * Line;
        _ahead += LinesAtOnce * Line;
        if (_offset >= _block!.Bytes)
            (_block, _offset) = (_block.Next, 0);
        return true;
    }
}

/// <summary>Memory that jobs read from its beginning to its end.</summary>
/// <param name="address">The first byte.</param>
/// <param name="bytes">The size.</param>
internal sealed class ReadBlock(nint address, long bytes)
{
    /// <summary>The first byte.</summary>
    public nint Address => address;

    /// <summary>The size.</summary>
    public long Bytes => bytes;

    /// <summary>What was read after it the last time.</summary>
    public ReadBlock? Next { get; set; }
}
