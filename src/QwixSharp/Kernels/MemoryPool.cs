namespace QwixSharp.Kernels;

/// <summary>
/// Keeps native memory that was given back for the next of the same size. A step of training quantizes the same weights as
/// the step before: with fresh memory the system would map and clear its pages every time.
/// </summary>
internal sealed class MemoryPool
{
    /// <summary>How much may lie unused; beyond it, what was given back first is freed.</summary>
    private const long MostIdleBytes = 64L << 20;

    private readonly Lock _gate = new();
    private readonly List<AlignedMemory> _idle = [];
    private long _idleBytes;

    /// <summary>The pool of the process.</summary>
    public static MemoryPool Shared { get; } = new();

    /// <summary>The bytes that lie unused.</summary>
    public long IdleBytes
    {
        get
        {
            lock (_gate)
                return _idleBytes;
        }
    }

    /// <summary>Memory of exactly this size. Its contents are anything.</summary>
    /// <param name="bytes">The size.</param>
    public AlignedMemory Rent(long bytes)
    {
        lock (_gate)
        {
            for (var place = _idle.Count - 1; place >= 0; place--)
            {
                var memory = _idle[place];
                if (memory.Bytes != bytes)
                    continue;
                _idle.RemoveAt(place);
                _idleBytes -= bytes;
                return memory;
            }
        }
        return new AlignedMemory(bytes);
    }

    /// <summary>Gives memory back; the caller must not use it any more.</summary>
    /// <param name="memory">What <see cref="Rent"/> gave.</param>
    public void Return(AlignedMemory memory)
    {
        lock (_gate)
        {
            _idle.Add(memory);
            _idleBytes += memory.Bytes;
            while (_idleBytes > MostIdleBytes)
            {
                _idleBytes -= _idle[0].Bytes;
                _idle[0].Dispose();
                _idle.RemoveAt(0);
            }
        }
    }
}
