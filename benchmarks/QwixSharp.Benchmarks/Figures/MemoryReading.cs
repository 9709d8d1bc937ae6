using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Benchmarks.Figures;

/// <summary>Reads memory that no cache holds, as fast as the threads can.</summary>
internal sealed unsafe class MemoryReading : KernelJob
{
    /// <summary>Many times any cache.</summary>
    private const long BufferBytes = 512L << 20;

    private const long Chunk = 256 << 10;

    private readonly byte* _buffer;
    private readonly long _bytes;
    private readonly int _threads;
    private long _start;
    private long _next;
    private int _sum;

    private MemoryReading(long bytes, int threads)
    {
        (_bytes, _threads) = (bytes, threads);
        _buffer = (byte*)NativeMemory.AlignedAlloc((nuint)BufferBytes, 4096);
        NativeMemory.Fill(_buffer, (nuint)BufferBytes, 1);
    }

    /// <summary>A candidate that reads so many bytes, others at each run.</summary>
    public static Candidate Of(string name, long bytes, int threads) => new(name, () =>
    {
        var reading = new MemoryReading(bytes, threads);
        return new Prepared(reading.Read, () => reading._sum != 0, () => NativeMemory.AlignedFree(reading._buffer));
    });

    public override void Run(int worker)
    {
        var sum = Vector256<int>.Zero;
        while (true)
        {
            var from = Interlocked.Add(ref _next, Chunk) - Chunk;
            if (from >= _bytes)
                break;
            var end = _buffer + _start + Math.Min(_bytes, from + Chunk);
            for (var p = _buffer + _start + from; p + 128 <= end; p += 128)
                sum += Vector256.Load((int*)p) + Vector256.Load((int*)p + 8) + (Vector256.Load((int*)p + 16) + Vector256.Load((int*)p + 24));
        }
        Interlocked.Add(ref _sum, Vector256.Sum(sum));
    }

    private void Read()
    {
        _start = _start + 2 * _bytes <= BufferBytes ? _start + _bytes : 0;
        _next = 0;
        KernelPool.Shared.Run(this, _threads);
    }
}
