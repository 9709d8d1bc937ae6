using System.Runtime.CompilerServices;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>A max pool behind the convolution: rows of the pool's input never reach memory.</summary>
internal sealed unsafe partial class DirectJob
{
    [ThreadStatic]
    private static PooledRows? _rows;

    /// <summary>Takes rows of the pool's result. Two units share some rows of its input, which are convolved once where a thread has both.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Pool(int worker)
    {
        var rows = _rows ??= new PooledRows();
        rows.Begin(_pool, _output);
        while (_summing.Take(worker, out var unit, out _))
        {
            for (var row = unit * _rowsAtOnce; row < Math.Min(_pool.OutHeight, (unit + 1) * _rowsAtOnce); row++)
            {
                while (rows.Lacks(row, out var lacking))
                {
                    ConvolveWholeRow(worker, rows.Line, lacking);
                    rows.Take(lacking);
                }
                if (!rows.Finish(row))
                    _isFinite = false;
            }
        }
        rows.End();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void ConvolveWholeRow(int worker, float* target, int row)
    {
        // The epilogue counts pixels from the first row.
        var output = _output with { Floats = (nint)(target - (long)row * _outWidth * _shape.OutChannels), Codes = 0, ChannelsLast = true };
        var epilogue = new SumsEpilogue(output, _inputScale, _shape.OutChannels, _outHeight, _outWidth);
        for (var group = 0; group < _shape.Groups; group++)
            for (var first = 0; first < _weight.Panels; first += PanelsAtOnce)
                for (var (panel, last) = (first, Math.Min(first + PanelsAtOnce, _weight.Panels)); panel < last; panel += _panelsAtOnce)
                    ConvolveRows(worker, epilogue, group, panel, Math.Min(_panelsAtOnce, last - panel), row, row + 1);
    }
}
