using QwixSharp.Arrays;
using QwixSharp.Kernels.Weights;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// A quantized matrix in the form that the kernels read, made once for each array and freed with it.
/// </summary>
internal sealed class PackedForm : IKernelForm
{
    private readonly QType _qtype;
    private readonly long[] _shape;
    private readonly long[] _scaleShape;
    private readonly ScalarType _scaleDtype;

    private PackedForm(QArray array, PackedWeight weight)
        : this(array.QType, array.Shape.ToArray(), array.ScaleShape.ToArray(), array.Dtype, weight)
    {
    }

    private PackedForm(QType qtype, long[] shape, long[] scaleShape, ScalarType scaleDtype, PackedWeight weight)
    {
        Weight = weight;
        _qtype = qtype;
        (_shape, _scaleShape, _scaleDtype) = (shape, scaleShape, scaleDtype);
    }

    internal PackedWeight Weight { get; }

    /// <inheritdoc/>
    public bool CanRestore => _shape.Length == 2;

    /// <summary>
    /// Whether kernels can serve an array as the right side of a product. Of scales that are quantized they would keep a
    /// plain copy, which is what these are to save.
    /// </summary>
    internal static bool CanServe(QArray array) =>
        array.Rank > 0 && array.Device.type == DeviceType.CPU && TensorMemory.FormatOf(array.Dtype) is not null && array.ZeroPoint is null && array.QType.Bits <= 8 && !array.HasDoubleQuantizedScale;

    /// <summary>The packed form of an operand [rows, depth] whose axes are in order.</summary>
    /// <param name="operand">The operand; one batch.</param>
    internal static PackedWeight Get(ProductOperand operand) =>
        operand.Quantized!.KernelForm(() => new PackedForm(operand.Quantized!, Pack(operand))).Weight;

    /// <summary>
    /// Quantizes a matrix [rows, depth] whose second axis a product contracts straight into its packed form, in one pass over
    /// its memory: for weights that change at every step. Dispose the array, so that the next step has its memory.
    /// </summary>
    /// <param name="matrix">The matrix.</param>
    /// <param name="how">How it is quantized.</param>
    /// <param name="keepsCodes">Whether codes are written as a tensor too, because they will be asked for.</param>
    /// <returns>A QArray of the caller's; or null where the pass cannot serve.</returns>
    internal static unsafe QArray? TryQuantize(Tensor matrix, HowToQuantize how, bool keepsCodes = false)
    {
        if (matrix.dim() != 2 || !RowQuantization.IsAbsMax(matrix, how))
            return null;
        long[] shape = matrix.shape, scaleShape = how.ScaleShape(shape);
        if (scaleShape[0] != shape[0] || (scaleShape[1] > 1 && shape[1] / scaleShape[1] > PackedWeight.LongestTile))
            return null;
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var source = matrix.contiguous();
        var codes = keepsCodes ? empty(shape, dtype: ScalarType.Int8) : null;
        var weight = PackedWeight.Quantize((float*)TensorMemory.Address(source), shape[0], shape[1], shape[1] / scaleShape[1], how.QType.Bits, get_num_threads(), codes is null ? null : (sbyte*)TensorMemory.Address(codes));
        var scale = empty(scaleShape, dtype: ScalarType.Float32);
        weight.CopyScales((float*)TensorMemory.Address(scale));
        return new QArray(how.QType, shape, codes is null ? null : CodePacking.Pack(codes, how.QType), scale, new PackedForm(how.QType, shape, scaleShape, ScalarType.Float32, weight)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public long ScaleSize => NarrowScales.ElementSize(Weight.ScaleFormat);

    /// <inheritdoc/>
    public unsafe Tensor RestoreCodes()
    {
        using var scope = NewDisposeScope();
        var codes = empty(_shape, dtype: Codec.CodeDtype(_qtype));
        Weight.CopyCodes((byte*)TensorMemory.Address(codes), get_num_threads());
        return CodePacking.Pack(codes, _qtype).DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    public unsafe Tensor RestoreScale()
    {
        using var scope = NewDisposeScope();
        var scale = empty(_scaleShape, dtype: ScalarType.Float32);
        var values = (float*)TensorMemory.Address(scale);
        long rows = _shape[0] / _scaleShape[0], columns = _shape[1] / _scaleShape[1];
        for (long i = 0; i < _scaleShape[0]; i++)
        {
            for (long j = 0; j < _scaleShape[1]; j++)
                values[(i * _scaleShape[1]) + j] = Weight.Scale((int)(i * rows), (int)(j * columns));
        }

        return scale.to(_scaleDtype).DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose() => Weight.Dispose();

    private static unsafe PackedWeight Pack(ProductOperand operand)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var array = operand.Quantized!;
        int threads = get_num_threads();
        var grid = operand.Scales(operand.Tile);
        var scales = grid.expand(1, operand.Rows, grid.shape[2]).to(ScalarType.Float32).contiguous();
        float* scalePointer = (float*)TensorMemory.Address(scales);
        bool pairs = array.QType.StorageBits == 4 && operand.Depth % 2 == 0 && array.Shape[^1] % 2 == 0;
        var codes = (pairs ? array.Codes : array.GetQValue()).contiguous();
        void* code = (void*)TensorMemory.Address(codes);
        return array.QType switch
        {
            { Kind: QTypeKind.Integer } when pairs => PackedWeight.FromInt4Pairs((byte*)code, scalePointer, operand.Rows, operand.Depth, operand.Tile, threads),
            { Kind: QTypeKind.Integer } => PackedWeight.FromIntegers((sbyte*)code, scalePointer, operand.Rows, operand.Depth, operand.Tile, array.QType.Bits == 1 ? 2 : array.QType.Bits, threads),
            { Bits: 4 } => PackedWeight.FromCodebook((byte*)code, pairs, Codec.DecodeTable(array.QType), scalePointer, operand.Rows, operand.Depth, operand.Tile, threads),
            _ => PackedWeight.FromTable((byte*)code, Codec.DecodeTable(array.QType), scalePointer, operand.Rows, operand.Depth, operand.Tile, threads),
        };
    }
}
