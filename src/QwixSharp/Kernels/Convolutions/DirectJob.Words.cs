using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Assembled;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>For kernels that take 16-bit words: the image is widened once.</summary>
internal sealed unsafe partial class DirectJob
{
    private const int WidenedAtOnce = 4096;

    private readonly WorkShares _widening = new();
    private byte* _bytes;
    private long _byteCount;
    private short* _words;

    /// <summary>Bytes of a code in the image that windows are read from.</summary>
    private int CodeBytes => _kernel.TakesWords ? sizeof(short) : 1;

    /// <summary>The room that widening takes.</summary>
    /// <param name="imageBytes">The image's codes.</param>
    private long WideRoom(long imageBytes) => _kernel.TakesWords ? AlignedMemory.RoundUp((imageBytes + 64) * sizeof(short)) : 0;

    /// <summary>Lets windows be read from words.</summary>
    /// <param name="image">The image's codes, all of them.</param>
    /// <param name="count">How many.</param>
    /// <param name="room">As much as <see cref="WideRoom"/> says.</param>
    /// <param name="threads">How many threads take part.</param>
    private void PrepareWords(byte* image, long count, byte* room, int threads)
    {
        _bytes = image;
        _byteCount = count;
        _words = (short*)room;
        _pitch *= sizeof(short);
        _image = room + (_image - image) * sizeof(short);
        var units = checked((int)((count + WidenedAtOnce - 1) / WidenedAtOnce));
        _widening.Begin(units, threads, Math.Max(1, units / (threads * 8)));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Widen(int worker)
    {
        while (_widening.Take(worker, out var from, out var to))
        {
            var first = (long)from * WidenedAtOnce;
            var count = Math.Min((long)to * WidenedAtOnce, _byteCount) - first;
            WideCodes.Widen(_bytes + first, (nint)count, _words + first);
            _widening.Finish(to - from);
        }
        _widening.WaitForAll();
    }
}
