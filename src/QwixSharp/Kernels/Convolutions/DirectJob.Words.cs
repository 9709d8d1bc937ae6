using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Assembled;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>For kernels that take 16-bit words: the image is widened once, and a thread unpacks the panels that it is at work on.</summary>
internal sealed unsafe partial class DirectJob
{
    private const int WidenedAtOnce = 4096;

    private readonly WorkShares _widening = new();
    private byte* _bytes;
    private long _byteCount;
    private short* _words;
    private byte* _panels;
    private nint* _unpacked;

    /// <summary>Bytes of a code in the image that windows are read from.</summary>
    private int CodeBytes => _kernel.TakesWords ? sizeof(short) : 1;

    /// <summary>The room that widening takes.</summary>
    /// <param name="imageBytes">The image's codes.</param>
    /// <param name="threads">How many threads take part.</param>
    private long WideRoom(long imageBytes, int threads) =>
        !_kernel.TakesWords ? 0 : AlignedMemory.RoundUp((imageBytes + 64) * sizeof(short)) + threads * (PanelsAtOnce * _weight.PanelBytes * sizeof(short) + AlignedMemory.RoundUp(PanelsAtOnce * sizeof(nint)));

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
        _panels = room + AlignedMemory.RoundUp((count + 64) * sizeof(short));
        _unpacked = (nint*)(_panels + threads * PanelsAtOnce * _weight.PanelBytes * sizeof(short));
        new Span<nint>(_unpacked, threads * PanelsAtOnce).Fill(-1);
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

    /// <summary>A panel's codes as the kernel wants them.</summary>
    /// <param name="worker">The thread that asks.</param>
    /// <param name="place">The panel among those of all groups.</param>
    private sbyte* Codes(int worker, int place)
    {
        var codes = _weight.Codes + place * _weight.PanelBytes;
        if (!_kernel.TakesWords)
            return codes;
        var slot = worker * PanelsAtOnce + place % PanelsAtOnce;
        var words = _panels + slot * _weight.PanelBytes * sizeof(short);
        if (_unpacked[slot] != place)
        {
            WideCodes.Unpack((byte*)codes, (nint)_weight.PanelBytes / 64, (short*)words);
            _unpacked[slot] = place;
        }
        return (sbyte*)words;
    }
}
