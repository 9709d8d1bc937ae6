using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Convolutions;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Activations;

/// <summary>Brings rows of quantized activations into the block layout of an integer kernel, quantizing them on the way.</summary>
internal readonly unsafe struct ActivationPacker
{
    private readonly PackedWeight _weight;
    private readonly QuantizedInput _input;
    private readonly ActivationForm _form;
    private readonly int _weightBias;
    private readonly int _rowsTogether;
    private readonly bool _scalePerTile;

    /// <summary>A packer for one product.</summary>
    /// <param name="weight">Gives the tiles and paddings of K.</param>
    /// <param name="input">The activations.</param>
    /// <param name="kernel">Says how rows are to lie.</param>
    public ActivationPacker(PackedWeight weight, in QuantizedInput input, IntegerKernel kernel)
    {
        _weight = weight;
        _input = input;
        _form = kernel.Form(weight.Format);
        _weightBias = kernel.WeightBias(weight.Format);
        _rowsTogether = kernel.RowsTogether;
        _scalePerTile = input.ScalePerTile && !weight.IsSplitChannel;
    }

    /// <summary>Bytes that a row takes in a block.</summary>
    public long RowBytes => _form switch
    {
        ActivationForm.Words => _weight.PaddedDepth * 2,
        ActivationForm.Segments => _weight.PaddedDepth + _weight.Tiles * 4L * SegmentInterleaver.SegmentsOf(_weight.PaddedTile),
        _ => _weight.PaddedDepth,
    };

    /// <summary>The most rows of codes in a block.</summary>
    private const int MostRows = 64;

    /// <summary>Packs the rows of one block.</summary>
    /// <param name="first">The number in x of the first row.</param>
    /// <param name="count">How many rows of x; each becomes as many rows of codes as it has planes.</param>
    /// <param name="block">The block.</param>
    /// <param name="start">The block's start values [tile][rows].</param>
    /// <param name="scales">The block's scales [tile][rows].</param>
    /// <param name="scratch">A padded row of codes for each row of the block, zero where it is padding.</param>
    /// <param name="widened">Room for a row as float32, where it is not.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Pack(int first, int count, byte* block, int* start, float* scales, sbyte* scratch, float* widened)
    {
        var codes = stackalloc sbyte*[MostRows];
        var rows = count * _input.Planes;
        for (var place = 0; place < rows; place++)
            codes[place] = scratch + place * _weight.PaddedDepth;
        for (var row = 0; row < count; row++)
        {
            if (_input.Source == QuantizedSource.Planes)
                Split(first + row, scales + row * DigitPlanes.Count, rows, codes[row * DigitPlanes.Count]);
            else
                codes[row] = Codes(first + row, scales + row, rows, codes[row], widened);
        }
        for (var place = 0; place < rows; place++)
            Start(codes[place], start + place, rows);
        var parts = RowBlocks.Of(rows, _rowsTogether);
        for (var part = 0; part < parts.Count; part++)
        {
            var place = parts.Start(part);
            var target = (int*)(block + place * RowBytes);
            switch (_form)
            {
                case ActivationForm.Bytes:
                    BlockInterleaver.Bytes(codes + place, parts.Size(part), _weight.PaddedDepth / 4, target);
                    break;
                case ActivationForm.Words:
                    BlockInterleaver.Words(codes + place, parts.Size(part), _weight.PaddedDepth / 2, target);
                    break;
                case ActivationForm.Segments:
                    SegmentInterleaver.Interleave(codes + place, parts.Size(part), _weight.Tiles, _weight.PaddedTile, target);
                    break;
                default:
                    BlockInterleaver.Complements(codes + place, parts.Size(part), _weight.PaddedDepth / 4, target);
                    break;
            }
        }
    }

    private void Start(sbyte* codes, int* start, int rows)
    {
        for (var tile = 0; tile < _weight.Tiles; tile++)
            start[tile * rows] = _weightBias == 0
                ? 0
                : -_weightBias * RowQuantizer.Sum(codes + (long)tile * _weight.PaddedTile, _weight.PaddedTile);
    }

    private void Split(int row, float* scales, int rows, sbyte* scratch)
    {
        var x = (float*)_input.Values + row * _input.RowStride;
        for (var tile = 0; tile < _weight.Tiles; tile++, x += _weight.TileSize)
        {
            var count = TileLength(tile);
            var exponent = DigitPlanes.Exponent(RowQuantizer.AbsMax(x, count));
            var high = scratch + (long)tile * _weight.PaddedTile;
            DigitPlanes.Split(x, count, exponent, high, high + _weight.PaddedDepth, high + 2 * _weight.PaddedDepth);
            var scale = DigitPlanes.HighestScale(exponent);
            for (var plane = 0; plane < DigitPlanes.Count; plane++, scale /= 256)
                scales[tile * rows + plane] = scale;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private sbyte* Codes(int row, float* scales, int rows, sbyte* scratch, float* widened)
    {
        var tiles = _weight.Tiles;
        if (_input.Source == QuantizedSource.Codes)
        {
            var given = (float*)_input.Scales + row * _input.ScaleRowStride;
            for (var tile = 0; tile < tiles; tile++)
                scales[tile * rows] = given[_scalePerTile ? tile : 0];
            if (_input.Windows != 0)
            {
                ((ImageWindows*)_input.Windows)->Gather(row, scratch);
                return scratch;
            }
            return Pad((sbyte*)_input.Values + row * _input.RowStride, scratch);
        }
        var x = _input.Floats.Read(row, 0, _weight.Depth, widened);
        if (_scalePerTile && _input.Source == QuantizedSource.Dynamic)
        {
            for (var tile = 0; tile < tiles; tile++)
                scales[tile * rows] = Quantize(x, tile, DynamicScale(x + (long)tile * _weight.TileSize, TileLength(tile)), scratch);
            return scratch;
        }
        var isStatic = _input.Source == QuantizedSource.Static;
        var absMax = RowQuantizer.AbsMax(x, _weight.Depth);
        // NaN and infinity have no code: the scale carries them into the result.
        var scale = !isStatic ? RowQuantizer.Scale(absMax, _input.Range) : absMax < float.PositiveInfinity ? _input.StaticScale : float.NaN;
        for (var tile = 0; tile < tiles; tile++)
            scales[tile * rows] = Quantize(x, tile, scale, scratch);
        return scratch;
    }

    private int TileLength(int tile) => (int)Math.Min(_weight.TileSize, _weight.Depth - (long)tile * _weight.TileSize);

    private float DynamicScale(float* x, int count) => RowQuantizer.Scale(RowQuantizer.AbsMax(x, count), _input.Range);

    private float Quantize(float* x, int tile, float scale, sbyte* scratch)
    {
        var zeroPoint = _input.Source == QuantizedSource.Static ? _input.StaticZeroPoint : 0;
        var codes = scratch + (long)tile * _weight.PaddedTile;
        RowQuantizer.Quantize(x + (long)tile * _weight.TileSize, TileLength(tile), scale, zeroPoint, _input.Range, codes);
        return scale;
    }

    private sbyte* Pad(sbyte* codes, sbyte* scratch)
    {
        if (_weight.IsDepthDense)
            return codes;
        for (var tile = 0; tile < _weight.Tiles; tile++)
            Unsafe.CopyBlockUnaligned(scratch + (long)tile * _weight.PaddedTile, codes + (long)tile * _weight.TileSize, (uint)TileLength(tile));
        return scratch;
    }
}
