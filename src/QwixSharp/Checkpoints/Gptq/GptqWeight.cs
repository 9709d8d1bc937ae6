using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Layouts;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Gptq;

/// <summary>
/// A weight [out, in] of <c>qweight</c> [in / codes a word, out], <c>qzeros</c> [groups, out / codes a word] and <c>scales</c>
/// [groups, out]: words hold codes of consecutive inputs, zero points of consecutive outputs.
/// </summary>
internal sealed class GptqWeight : QuantizedTensor
{
    private readonly StoredParts _parts;
    private readonly GptqSettings _settings;
    private readonly QType _qtype;
    private readonly long _groups;
    private readonly Lazy<bool> _hasEvenGroups;

    internal GptqWeight(StoredParts parts, GptqSettings settings)
        : base(parts.WeightName, ShapeOf(parts, settings.Bits), parts.All)
    {
        _parts = parts;
        _settings = settings;
        _qtype = PackedWords.TypeOf(settings.Bits)!;
        var scales = parts.Scales("scales", 2);
        _groups = scales.Shape[0];
        Dtype = scales.Dtype.Carrier();
        Check(scales);
        _hasEvenGroups = new(HasEvenGroups);
    }

    public override string Description => $"gptq {_qtype}{(_settings.IsSymmetric ? "" : " asymmetric")}, {_groups} groups{(_hasEvenGroups.Value ? "" : " in activation order")}";

    public override ScalarType Dtype { get; }

    /// <remarks>Groups whose inputs are not consecutive, or not equally many, are no tiles.</remarks>
    public override TensorQuantization? Quantization => _hasEvenGroups.Value && (_settings.IsSymmetric || _qtype.SupportsAsymmetric)
        ? new TensorQuantization(_qtype, [Shape[0], _groups], !_settings.IsSymmetric)
        : null;

    public override QArray ReadQuantized()
    {
        if (Quantization is null)
            throw NoQArray("the groups of its inputs are no tiles of consecutive ones, or it has zero points that its type cannot have");
        using var scope = NewDisposeScope();
        var codes = PackedWords.ToCodes(_parts.Read("qweight").t().contiguous(), _qtype, Shape[1]);
        var scale = _parts.Read("scales").t().contiguous();
        var zeroPoint = ReadZeroPoint();
        if (!_settings.IsSymmetric)
            return new QArray(_qtype, [.. Shape], codes, scale, zeroPoint).MoveToOuterDisposeScope();
        if (zeroPoint.count_nonzero().item<long>() > 0)
            throw _parts.Misfit("qzeros", "which has other zero points than the middle of the range, though the quantization_config says sym");
        return new QArray(_qtype, [.. Shape], codes, scale).MoveToOuterDisposeScope();
    }

    public override Tensor ReadFloat(ScalarType? dtype = null)
    {
        using var scope = NewDisposeScope();
        var codes = PackedWords.ToCodes(_parts.Read("qweight").t().contiguous(), _qtype, Shape[1]);
        var weight = new AffineWeight(CodePacking.Unpack(codes, _qtype, Shape[1]), _qtype, _parts.Read("scales").t(), ReadZeroPoint()) { ColumnTiles = ReadGroups() };
        return weight.Dequantize(dtype ?? Dtype).MoveToOuterDisposeScope();
    }

    private static long[] ShapeOf(StoredParts parts, int bits)
    {
        var words = parts.Entry("qweight", 2, CheckpointDtype.Int32);
        if (words.Shape[0] > int.MaxValue)
            throw parts.Misfit("qweight", "which has more rows than a weight can have");
        return [words.Shape[1], words.Shape[0] * PackedWords.PerWord(bits)];
    }

    private void Check(TensorEntry scales)
    {
        if (scales.Shape[1] != Shape[0] || _groups == 0 || _groups > Math.Max(1, Shape[1]))
            throw _parts.Misfit("scales", $"which does not fit a weight of {Shape[0]} outputs and {Shape[1]} inputs");
        var zeros = _parts.Entry("qzeros", 2, CheckpointDtype.Int32);
        int perWord = PackedWords.PerWord(_settings.Bits);
        if (zeros.Shape[0] != _groups || zeros.Shape[1] != (Shape[0] + perWord - 1) / perWord)
            throw _parts.Misfit("qzeros", $"which does not fit {_groups} groups of {Shape[0]} outputs");
        if (_parts.Has("g_idx") && _parts.Entry("g_idx", 1, CheckpointDtype.Int32).Shape[0] != Shape[1])
            throw _parts.Misfit("g_idx", $"which does not fit {Shape[1]} inputs");
    }

    private bool HasEvenGroups()
    {
        if (Shape[1] % _groups != 0)
            return false;
        if (!_parts.Has("g_idx"))
            return true;
        using var scope = NewDisposeScope();
        return ReadGroups().Equals(EvenGroups());
    }

    private Tensor EvenGroups()
    {
        long size = (Shape[1] + _groups - 1) / _groups;
        return arange(Shape[1], ScalarType.Int64).div(tensor(size), RoundingMode.floor);
    }

    /// <summary>The group of each input.</summary>
    private Tensor ReadGroups()
    {
        if (!_parts.Has("g_idx"))
            return EvenGroups();
        var groups = _parts.Read("g_idx").to(ScalarType.Int64);
        if (groups.numel() > 0 && (groups.min().item<long>() < 0 || groups.max().item<long>() >= _groups))
            throw _parts.Misfit("g_idx", $"which names other groups than the {_groups} there are");
        return groups;
    }

    /// <summary>The zero points as codes are, with half the range taken off: [out, groups], int8.</summary>
    private Tensor ReadZeroPoint()
    {
        int range = 1 << _settings.Bits;
        var stored = PackedWords.Unpack(_parts.Read("qzeros"), _settings.Bits, Shape[0]).to(ScalarType.Int32);
        // The one that was taken off wraps around, as the sum that puts it back does in the kernels.
        return ((stored + _settings.ZeroPointBias).bitwise_and(range - 1) - (range / 2)).to(ScalarType.Int8).t().contiguous();
    }
}
