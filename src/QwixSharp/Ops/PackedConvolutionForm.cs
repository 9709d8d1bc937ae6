using QwixSharp.Arrays;
using QwixSharp.Kernels.Convolutions;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>A kernel of a convolution in the form that a <see cref="ConvolutionKernel"/> reads, freed with its array.</summary>
internal sealed class PackedConvolutionForm(QArray array) : IKernelForm
{
    private readonly QType _qtype = array.QType;
    private readonly long[] _shape = array.Shape.ToArray();
    private readonly long[] _scaleShape = array.ScaleShape.ToArray();
    private readonly QArray _array = array;
    private readonly Lock _gate = new();
    private readonly Dictionary<ConvolutionShape, ConvolutionKernel> _packed = [];

    /// <inheritdoc/>
    public bool CanRestore => _packed.Count > 0;

    /// <inheritdoc/>
    public long ScaleSize => sizeof(float);

    /// <summary>The packed kernel for the strides, padding and dilation of a layer.</summary>
    internal ConvolutionKernel For(ConvolutionShape shape)
    {
        lock (_gate)
        {
            if (!_packed.TryGetValue(shape, out var packed))
                _packed[shape] = packed = Pack(shape);
            return packed;
        }
    }

    /// <inheritdoc/>
    public unsafe Tensor RestoreCodes()
    {
        using var scope = NewDisposeScope();
        var codes = empty(_shape, dtype: ScalarType.Int8);
        _packed.Values.First().CopyCodes((sbyte*)TensorMemory.Address(codes), get_num_threads());
        return CodePacking.Pack(codes, _qtype).DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    public Tensor RestoreScale()
    {
        var packed = _packed.Values.First();
        return tensor([.. Enumerable.Range(0, (int)_scaleShape[0]).Select(packed.Scale)], ScalarType.Float32).reshape(_scaleShape).DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var packed in _packed.Values)
            packed.Dispose();
    }

    private unsafe ConvolutionKernel Pack(ConvolutionShape shape)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var codes = _array.GetQValue().contiguous();
        var scales = GenericBroadcast.Expand(_array.Scale.reshape(-1), [_shape[0]]);
        return ConvolutionKernel.Pack((sbyte*)TensorMemory.Address(codes), (float*)TensorMemory.Address(scales), shape, _qtype.Bits == 1 ? 2 : _qtype.Bits);
    }
}
