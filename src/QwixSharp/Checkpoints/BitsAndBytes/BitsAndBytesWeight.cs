using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Layouts;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.BitsAndBytes;

/// <summary>
/// A weight in 4 bits: the first code of a byte in the upper bits, a scale for each block of consecutive values, whatever the
/// rows.
/// </summary>
internal sealed class BitsAndBytesWeight : QuantizedTensor
{
    private const int Levels = 16;

    private static readonly string[] Suffixes =
        ["", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"];

    private readonly Checkpoint _checkpoint;
    private readonly BitsAndBytesState _state;
    private readonly long _count;
    private readonly long _blocks;

    internal BitsAndBytesWeight(Checkpoint checkpoint, string name, BitsAndBytesState state)
        : base(name, state.Shape, PartsOf(checkpoint, name))
    {
        _checkpoint = checkpoint;
        _state = state;
        _count = state.Shape.Aggregate(1L, (a, b) => a * b);
        _blocks = (_count + state.BlockSize - 1) / state.BlockSize;
        Check("", (_count + 1) / 2, CheckpointDtype.UInt8);
        Check(".quant_map", Levels, CheckpointDtype.Float32);
        Check(".absmax", _blocks, IsNested ? CheckpointDtype.UInt8 : CheckpointDtype.Float32);
        if (!IsNested)
            return;
        Check(".nested_absmax", (_blocks + state.NestedBlockSize - 1) / state.NestedBlockSize, CheckpointDtype.Float32);
        Check(".nested_quant_map", 256, CheckpointDtype.Float32);
    }

    public override string Description => $"bitsandbytes {_state.QuantType}, blocks of {_state.BlockSize}{(IsNested ? ", scales of 8 bits" : "")}";

    public override ScalarType Dtype => _state.ScalarType;

    /// <remarks>fp4, and blocks that are neither within rows nor whole rows, have no QArray.</remarks>
    public override TensorQuantization? Quantization =>
        _state.QuantType == "nf4" && ScaleShape() is { } shape ? new TensorQuantization(QType.NF4, shape, HasZeroPoint: false) : null;

    private bool IsNested => _state.NestedBlockSize > 0;

    public override QArray ReadQuantized()
    {
        if (Quantization is not { } quantization)
            throw NoQArray("its blocks are no tiles of its rows, or its codes are not nf4");
        using var scope = NewDisposeScope();
        if (!ReadFloats(".quant_map").Equals(tensor(NormalFloat4.Levels)))
            throw new CheckpointException($"{CheckpointException.Quote(_checkpoint.Path)} gives {CheckpointException.Quote(Name)} other levels than those of nf4. Read it as floats.");
        var bytes = _checkpoint.Read(Name).reshape(-1);
        var codes = Shape.Count > 0 && Shape[^1] % 2 == 0
            ? bytes.bitwise_left_shift(tensor((byte)4)).bitwise_or(bytes.bitwise_right_shift(tensor((byte)4))).reshape([.. Shape.SkipLast(1), Shape[^1] / 2])
            : CodePacking.Pack(Codes(bytes).reshape([.. Shape]), QType.NF4);
        return new QArray(QType.NF4, [.. Shape], codes, ReadScales().reshape([.. quantization.ScaleShape])).MoveToOuterDisposeScope();
    }

    public override Tensor ReadFloat(ScalarType? dtype = null)
    {
        using var scope = NewDisposeScope();
        var levels = ReadFloats(".quant_map").index_select(0, Codes(_checkpoint.Read(Name).reshape(-1)).to(ScalarType.Int32));
        var values = levels * ReadScales().repeat_interleave(_state.BlockSize).narrow(0, 0, _count);
        return values.reshape([.. Shape]).to(dtype ?? Dtype).MoveToOuterDisposeScope();
    }

    private static TensorEntry[] PartsOf(Checkpoint checkpoint, string name) =>
        [.. Suffixes.Select(s => name + s).Where(checkpoint.Contains).Select(checkpoint.Entry)];

    private void Check(string suffix, long count, CheckpointDtype dtype)
    {
        var entry = _checkpoint.Entry(Name + suffix);
        if (entry.Dtype != dtype || entry.Shape.Aggregate(1L, (a, b) => a * b) != count)
            throw new CheckpointException($"{CheckpointException.Quote(_checkpoint.Path)} has {entry}, but {CheckpointException.Quote(Name)} needs {count} values of {dtype} there.");
    }

    /// <summary>One scale to a block, in rows or of rows; null where blocks are neither.</summary>
    private long[]? ScaleShape()
    {
        long row = Shape.Count == 0 ? 1 : Shape[^1];
        if (row > 0 && row % _state.BlockSize == 0)
            return [.. Shape.SkipLast(1), row / _state.BlockSize];
        bool wholeRows = Shape.Count == 2 && row > 0 && _state.BlockSize % row == 0 && Shape[0] % (_state.BlockSize / row) == 0;
        return wholeRows ? [Shape[0] / (_state.BlockSize / row), 1] : null;
    }

    private Tensor ReadFloats(string suffix) => _checkpoint.Read(Name + suffix).reshape(-1);

    private Tensor ReadScales()
    {
        if (!IsNested)
            return ReadFloats(".absmax");
        var scales = ReadFloats(".nested_quant_map").index_select(0, _checkpoint.Read(Name + ".absmax").reshape(-1).to(ScalarType.Int32));
        return (scales * ReadFloats(".nested_absmax").repeat_interleave(_state.NestedBlockSize).narrow(0, 0, _blocks)) + _state.NestedOffset;
    }

    /// <summary>A code each; the first of a byte is in its upper bits.</summary>
    private Tensor Codes(Tensor bytes) =>
        stack([bytes.bitwise_right_shift(tensor((byte)4)), bytes.bitwise_and(tensor((byte)15))], -1).reshape(-1).narrow(0, 0, _count);
}
