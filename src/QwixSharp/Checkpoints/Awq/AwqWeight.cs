using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Layouts;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Awq;

/// <summary>
/// A weight [out, in] of <c>qweight</c> [in, out / 8], <c>qzeros</c> [groups, out / 8] and <c>scales</c> [groups, out]. A word
/// holds eight consecutive outputs, first the even ones and then the odd.
/// </summary>
internal sealed class AwqWeight : QuantizedTensor
{
    /// <summary>The bits of a code.</summary>
    internal const int Bits = 4;

    private const int PerWord = 8;

    /// <summary>The field in which each of eight outputs lies.</summary>
    private static readonly long[] Order = [0, 4, 1, 5, 2, 6, 3, 7];

    private readonly StoredParts _parts;
    private readonly bool _hasZeroPoint;
    private readonly long _groups;

    internal AwqWeight(StoredParts parts, bool hasZeroPoint)
        : base(parts.WeightName, ShapeOf(parts), parts.All)
    {
        _parts = parts;
        _hasZeroPoint = hasZeroPoint && parts.Has("qzeros");
        var scales = parts.Scales("scales", 2);
        _groups = scales.Shape[0];
        Dtype = scales.Dtype.Carrier();
        if (scales.Shape[1] != Shape[0] || _groups == 0 || Shape[1] % _groups != 0)
            throw parts.Misfit("scales", $"which does not fit a weight of {Shape[0]} outputs and {Shape[1]} inputs");
        if (_hasZeroPoint && parts.Entry("qzeros", 2, CheckpointDtype.Int32) is var zeros && (zeros.Shape[0] != _groups || zeros.Shape[1] * PerWord != Shape[0]))
            throw parts.Misfit("qzeros", $"which does not fit {_groups} groups of {Shape[0]} outputs");
    }

    public override string Description => $"awq int4{(_hasZeroPoint ? " asymmetric" : "")}, {_groups} groups";

    public override ScalarType Dtype { get; }

    public override TensorQuantization Quantization => new(QType.Int4, [Shape[0], _groups], _hasZeroPoint);

    public override QArray ReadQuantized()
    {
        using var scope = NewDisposeScope();
        var codes = CodePacking.Pack(ReadCodes("qweight"), QType.Int4);
        return new QArray(QType.Int4, [.. Shape], codes, _parts.Read("scales").t().contiguous(), _hasZeroPoint ? ReadCodes("qzeros") : null).MoveToOuterDisposeScope();
    }

    private static long[] ShapeOf(StoredParts parts)
    {
        var words = parts.Entry("qweight", 2, CheckpointDtype.Int32);
        if (words.Shape[1] > int.MaxValue)
            throw parts.Misfit("qweight", "which has more columns than a weight can have");
        return [words.Shape[1] * PerWord, words.Shape[0]];
    }

    /// <summary>Codes −8…7, outputs first.</summary>
    private Tensor ReadCodes(string part) =>
        (PackedWords.Unpack(_parts.Read(part), Bits, Shape[0], Order).to(ScalarType.Int8) - 8).to(ScalarType.Int8).t().contiguous();
}
