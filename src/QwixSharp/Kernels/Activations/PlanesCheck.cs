using QwixSharp.Kernels.Threading;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Activations;

/// <summary>Finds out on several threads whether activations can be split into <see cref="DigitPlanes"/>.</summary>
internal sealed unsafe class PlanesCheck : KernelJob
{
    /// <summary>Below this many elements a second thread costs more than it gives.</summary>
    private const long SmallestShared = 32 << 10;

    [ThreadStatic]
    private static PlanesCheck? _cached;

    private readonly WorkShares _shares = new();
    private FloatInput _x;
    private int _depth;
    private int _tileSize;
    private volatile bool _isRefused;

    /// <summary>Whether all rows can be split.</summary>
    /// <param name="x">float32 activations.</param>
    /// <param name="weight">Gives K and the tiles.</param>
    /// <param name="threads">How many threads take part.</param>
    public static bool CanSplit(in FloatInput x, PackedWeight weight, int threads)
    {
        if (threads <= 1 || (long)x.Rows * weight.Depth < SmallestShared)
            return DigitPlanes.CanSplit((float*)x.Values, x.RowStride, x.Rows, weight.Depth, weight.TileSize);
        var check = _cached ?? new PlanesCheck();
        _cached = null;
        (check._x, check._depth, check._tileSize, check._isRefused) = (x, weight.Depth, weight.TileSize, false);
        check._shares.Begin(x.Rows, threads, Math.Max(1, x.Rows / (threads * 8)));
        KernelPool.Shared.Run(check, threads);
        _cached = check;
        return !check._isRefused;
    }

    /// <inheritdoc/>
    public override void Run(int worker)
    {
        while (!_isRefused && _shares.Take(worker, out var from, out var to))
            if (!DigitPlanes.CanSplit((float*)_x.Values + from * _x.RowStride, _x.RowStride, to - from, _depth, _tileSize))
                _isRefused = true;
    }
}
