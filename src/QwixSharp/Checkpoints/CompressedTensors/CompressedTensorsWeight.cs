using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Layouts;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.CompressedTensors;

/// <summary>A weight [out, in]: codes a byte each or packed into int32 words, and the scales of its tiles.</summary>
internal sealed class CompressedTensorsWeight : QuantizedTensor
{
    private const string Packed = "weight_packed";
    private const string Scale = "weight_scale";
    private const string ZeroPoint = "weight_zero_point";
    private const string GroupIndex = "weight_g_idx";

    private readonly StoredParts _parts;
    private readonly CompressedTensorsScheme _scheme;
    private readonly (long Rows, long Columns) _scaleShape;
    private readonly Lazy<bool> _hasGroupIndex;

    private CompressedTensorsWeight(StoredParts parts, long[] shape, CompressedTensorsScheme scheme, CompressedTensorsActivations? activations)
        : base(parts.WeightName, shape, parts.All)
    {
        _parts = parts;
        _scheme = scheme;
        Activations = activations;
        _scaleShape = scheme.ScaleShape(shape);
        var scale = parts.Find(Scale)!;
        Dtype = parts.Scales(Scale, scale.Shape.Count).Dtype.Carrier();
        CheckPerTile(scale, _scaleShape);
        _hasGroupIndex = new(() => ReadGroupIndex() is not null);
        if (HasZeroPoint)
            CheckZeroPoint();
    }

    public override string Description => $"compressed-tensors {_scheme.QType}{(HasZeroPoint ? " asymmetric" : "")}, {Tiles}{(_hasGroupIndex.Value ? " in activation order" : "")}";

    public override ScalarType Dtype { get; }

    /// <remarks>Tiles that do not divide the weight, or whose inputs are not consecutive, are none of a QArray.</remarks>
    public override TensorQuantization? Quantization =>
        IsEven(Shape[0], _scaleShape.Rows, _scheme.RowTile) && IsEven(Shape[1], _scaleShape.Columns, _scheme.ColumnTile) && !_hasGroupIndex.Value && (!HasZeroPoint || _scheme.QType.SupportsAsymmetric)
            ? new TensorQuantization(_scheme.QType, [_scaleShape.Rows, _scaleShape.Columns], HasZeroPoint)
            : null;

    /// <summary>The path of the module.</summary>
    internal string Module => _parts.Module;

    /// <summary>How the module's input is quantized when it is served; null where it is not.</summary>
    internal CompressedTensorsActivations? Activations { get; }

    private bool HasZeroPoint => _parts.Has(ZeroPoint) && !_scheme.IsSymmetric;

    private string Tiles => _scheme.Strategy switch
    {
        "group" => $"groups of {_scheme.ColumnTile}",
        "block" => $"blocks of {_scheme.RowTile}×{_scheme.ColumnTile}",
        _ => $"per {_scheme.Strategy}",
    };

    /// <summary>Describes a weight after checking that its parts fit each other.</summary>
    internal static CompressedTensorsWeight Make(StoredParts parts, (CompressedTensorsScheme Weights, CompressedTensorsActivations? Activations) config)
    {
        var (scheme, activations) = config;
        if (!parts.Has(Scale))
            throw parts.Missing(Scale);
        var codes = parts.Has(Packed) ? parts.Entry(Packed, 2, CheckpointDtype.Int32)
            : parts.Entry("weight", 2, scheme.QType.Kind == QTypeKind.Integer ? CheckpointDtype.Int8 : CheckpointDtype.Float8E4M3Fn);
        long[] shape = parts.Has(Packed) ? PackedShape(parts, codes, scheme) : [.. codes.Shape];
        return new CompressedTensorsWeight(parts, shape, scheme, activations);
    }

    public override QArray ReadQuantized()
    {
        if (Quantization is not { } quantization)
            throw NoQArray("its tiles do not divide it, its inputs are in activation order, or it has zero points that its type cannot have");
        using var scope = NewDisposeScope();
        var codes = _parts.Has(Packed) ? PackedWords.ToCodes(_parts.Read(Packed), _scheme.QType, Shape[1]) : CodePacking.Pack(_parts.Read("weight"), _scheme.QType);
        var scale = _parts.Read(Scale).reshape([.. quantization.ScaleShape]);
        return new QArray(_scheme.QType, [.. Shape], codes, scale, ReadZeroPoint()).MoveToOuterDisposeScope();
    }

    public override Tensor ReadFloat(ScalarType? dtype = null)
    {
        if (Quantization is not null)
            return base.ReadFloat(dtype);
        using var scope = NewDisposeScope();
        var codes = _parts.Has(Packed) ? CodePacking.Unpack(PackedWords.ToCodes(_parts.Read(Packed), _scheme.QType, Shape[1]), _scheme.QType, Shape[1]) : _parts.Read("weight");
        var weight = new AffineWeight(codes, _scheme.QType, _parts.Read(Scale).reshape(_scaleShape.Rows, _scaleShape.Columns), ReadZeroPoint())
        {
            RowTiles = TileOf(Shape[0], _scaleShape.Rows, _scheme.RowTile),
            ColumnTiles = ReadGroupIndex() ?? TileOf(Shape[1], _scaleShape.Columns, _scheme.ColumnTile),
        };
        return weight.Dequantize(dtype ?? Dtype).MoveToOuterDisposeScope();
    }

    /// <summary>The fixed scale of the module's input; null where it has none.</summary>
    internal float? ReadInputScale()
    {
        if (!_parts.Has("input_scale"))
            return null;
        using var scope = NewDisposeScope();
        var scale = _parts.Read("input_scale");
        return scale.numel() == 1 ? scale.to(ScalarType.Float32).reshape(1)[0].item<float>() : throw _parts.Misfit("input_scale", "which should be one number");
    }

    private static bool IsEven(long length, long tiles, long tile) => tiles == 1 || tiles * tile == length;

    private static Tensor? TileOf(long length, long tiles, long tile) =>
        tiles == 1 || tile <= 1 ? null : arange(length, ScalarType.Int64).div(tensor(tile), RoundingMode.floor);

    private static long[] PackedShape(StoredParts parts, TensorEntry codes, CompressedTensorsScheme scheme)
    {
        int bits = scheme.QType.Bits;
        if (PackedWords.TypeOf(bits) is null)
            throw parts.Misfit(Packed, $"in {bits} bits, but only 2, 4 and 8 are read");
        if (codes.Shape[1] > int.MaxValue)
            throw parts.Misfit(Packed, "which has more columns than a weight can have");
        long[] shape = [codes.Shape[0], codes.Shape[1] * PackedWords.PerWord(bits)];
        if (!parts.Has("weight_shape"))
            return shape;
        if (parts.Entry("weight_shape", 1, CheckpointDtype.Int64, CheckpointDtype.Int32).Shape[0] != 2)
            throw parts.Misfit("weight_shape", "which should be two numbers");
        using var scope = NewDisposeScope();
        long[] told = parts.Read("weight_shape").to(ScalarType.Int64).data<long>().ToArray();
        if (told[0] != shape[0] || told[1] > shape[1] || told[1] <= shape[1] - PackedWords.PerWord(bits))
            throw parts.Misfit("weight_shape", $"which says [{told[0]}, {told[1]}] where {codes} holds [{shape[0]}, {shape[1]}]");
        return told;
    }

    private void CheckPerTile(TensorEntry part, (long Rows, long Columns) tiles)
    {
        bool fits = part.Shape switch
        {
            [var rows, var columns] => rows == tiles.Rows && columns == tiles.Columns,
            [var count] => count == tiles.Rows && tiles.Columns == 1,
            [] => tiles is (1, 1),
            _ => false,
        };
        if (!fits)
            throw _parts.Misfit(part.Name[(part.Name.LastIndexOf('.') + 1)..], $"which does not fit {Tiles} of a weight [{Shape[0]}, {Shape[1]}]");
    }

    private void CheckZeroPoint()
    {
        var entry = _parts.Find(ZeroPoint)!;
        if (entry.Dtype == CheckpointDtype.Int8)
            CheckPerTile(entry, _scaleShape);
        else
            CheckPerTile(_parts.Entry(ZeroPoint, 2, CheckpointDtype.Int32), (WordsOfRows, _scaleShape.Columns));
    }

    private long WordsOfRows => (_scaleShape.Rows + PackedWords.PerWord(_scheme.QType.Bits) - 1) / PackedWords.PerWord(_scheme.QType.Bits);

    /// <summary>The zero points, int8; those that are packed hold consecutive outputs in a word.</summary>
    private Tensor? ReadZeroPoint()
    {
        if (!HasZeroPoint)
            return null;
        var stored = _parts.Read(ZeroPoint);
        if (stored.dtype == ScalarType.Int8)
            return stored.reshape(_scaleShape.Rows, _scaleShape.Columns);
        int bits = _scheme.QType.Bits;
        return (PackedWords.Unpack(stored.t(), bits, _scaleShape.Rows).to(ScalarType.Int16) - (1 << (bits - 1))).to(ScalarType.Int8).t().contiguous();
    }

    /// <summary>The group of each input where they are not consecutive; null where they are.</summary>
    private Tensor? ReadGroupIndex()
    {
        if (!_parts.Has(GroupIndex))
            return null;
        if (_parts.Entry(GroupIndex, 1, CheckpointDtype.Int32, CheckpointDtype.Int64).Shape[0] != Shape[1])
            throw _parts.Misfit(GroupIndex, $"which does not fit {Shape[1]} inputs");
        var groups = _parts.Read(GroupIndex).to(ScalarType.Int64);
        // A place that was kept for groups and not used is full of −1.
        if (groups.numel() == 0 || groups.max().item<long>() < 0)
            return null;
        if (groups.min().item<long>() < 0 || groups.max().item<long>() >= _scaleShape.Columns)
            throw _parts.Misfit(GroupIndex, $"which names other groups than the {_scaleShape.Columns} there are");
        return TileOf(Shape[1], _scaleShape.Columns, _scheme.ColumnTile) is { } even && groups.Equals(even) ? null : groups;
    }
}
