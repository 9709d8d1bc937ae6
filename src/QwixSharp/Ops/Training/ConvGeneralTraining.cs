using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>
/// A convolution in training: (N, C, spatial) and a kernel in PyTorch's layout. As in the reference, the backward pass uses
/// the operands as the forward pass rounded them, and no gradient is clipped.
/// </summary>
internal sealed class ConvGeneralTraining : ITrainedProduct
{
    private readonly Func<Operand, Operand, Tensor> _convolve;
    private readonly ConvolutionGradient _gradient;
    private readonly TrainingSettings _settings;
    private SavedOperand? _input;
    private SavedOperand? _kernel;
    private long[] _inputShape = [];
    private long[] _kernelShape = [];

    private ConvGeneralTraining(Func<Operand, Operand, Tensor> convolve, ConvolutionGradient gradient, TrainingSettings settings) =>
        (_convolve, _gradient, _settings) = (convolve, gradient, settings);

    private int OutputFeatureAxis => _gradient.Transposed ? 1 : 0;

    /// <summary>Computes a convolution, with its gradient where one is needed.</summary>
    /// <param name="input">(N, C, spatial).</param>
    /// <param name="kernel">The kernel; its output features come first, or second where transposed.</param>
    /// <param name="convolve">Convolves the operands once they are quantized.</param>
    /// <param name="gradient">The gradients of that convolution.</param>
    /// <param name="settings">How operands and gradients are quantized.</param>
    /// <returns>(N, output features, spatial), the caller's.</returns>
    /// <exception cref="ArgumentException">The operands cannot be convolved so, forwards or backwards.</exception>
    internal static Tensor Compute(Tensor input, Tensor kernel, Func<Operand, Operand, Tensor> convolve, ConvolutionGradient gradient, TrainingSettings settings) =>
        ProductFunction.Apply(new ConvGeneralTraining(convolve, gradient, settings), input, kernel);

    /// <inheritdoc/>
    public Tensor Forward(Tensor lhs, Tensor rhs, SavedTensors? saved)
    {
        using var input = Quantize(lhs, _settings.Lhs, 0);
        using var kernel = Quantize(rhs, _settings.Rhs, OutputFeatureAxis);
        (_inputShape, _kernelShape) = (lhs.shape, rhs.shape);
        if (saved is not null)
        {
            if (rhs.requires_grad)
                _input = Keep(input, _settings.RhsGradient, saved);
            if (lhs.requires_grad)
                _kernel = Keep(kernel, _settings.LhsGradient, saved);
        }

        return _convolve(input.Operand, kernel.Operand);
    }

    /// <inheritdoc/>
    public (Tensor? Lhs, Tensor? Rhs) Backward(Tensor gradient, IReadOnlyList<Tensor> saved)
    {
        using var scope = NewDisposeScope();
        var ofInput = _kernel is null ? null : Gradient(
            gradient, _kernel.Restore(saved), OutputFeatureAxis, 1, _settings.LhsGradient, channelwiseAxis: 0,
            (factors, kernel, how) => ConvolutionGradientOnCodes.TryOfInput(gradient, factors, kernel, how, _gradient),
            (incoming, kernel) => _gradient.OfInput(incoming, _inputShape, kernel));
        var ofKernel = _input is null ? null : Gradient(
            gradient, _input.Restore(saved), 0, 0, _settings.RhsGradient, channelwiseAxis: 1,
            (factors, input, how) => ConvolutionGradientOnCodes.TryOfKernel(gradient, factors, input, how, _gradient, _kernelShape),
            (incoming, input) => _gradient.OfKernel(incoming, input, _kernelShape));
        return (ofInput?.MoveToOuterDisposeScope(), ofKernel?.MoveToOuterDisposeScope());
    }

    private TrainedOperand Quantize(Tensor operand, OperandSettings settings, int channelwiseAxis) =>
        TrainedOperand.Quantize(operand, settings, () => How(settings.QType!, settings.Calibration, channelwiseAxis), clips: false, StepQuantizer.Quantize);

    private HowToQuantize How(QType qtype, CalibrationMethod calibration, int channelwiseAxis) =>
        new() { QType = qtype, Calibration = calibration, ChannelwiseAxes = _settings.DisableChannelwiseAxes ? [] : [channelwiseAxis] };

    private static SavedOperand Keep(TrainedOperand operand, GradientSettings gradient, SavedTensors saved)
    {
        if (gradient.QType is not null && operand.Array is { } array)
            DotGeneralTraining.CheckCanBeReused(array);
        return saved.Add(operand.Operand);
    }

    /// <summary>
    /// The gradient of one operand. Where the incoming one is quantized, the scale of the other operand is in it: on codes
    /// where the kernels can serve, else on numbers.
    /// </summary>
    private Tensor Gradient(
        Tensor gradient, Operand other, int scaledAxis, int gradientAxis, GradientSettings settings, int channelwiseAxis,
        Func<Tensor, QArray, HowToQuantize, Tensor?> onCodes, Func<Tensor, Tensor, Tensor> onNumbers)
    {
        if (settings.QType is null)
            return onNumbers(gradient, other.Dequantize().to(gradient.dtype));
        var how = How(settings.QType, settings.Calibration, channelwiseAxis);
        if (other.QArray is not { } array)
            return onNumbers(Round(gradient, how), other.Tensor!.to(gradient.dtype));
        var factors = OnGradient(array.Scale, scaledAxis, gradientAxis, (int)gradient.dim());
        if (onCodes(factors, array, how) is { } result)
            return result;
        var values = Codec.Decode(array.GetQValue(), array.QType, gradient.dtype);
        return onNumbers(KernelGradients.TryRound(gradient, factors, how) ?? Round(gradient * factors, how), values);
    }

    private static Tensor Round(Tensor gradient, HowToQuantize how)
    {
        using var quantized = Quantizer.Quantize(gradient, how);
        return quantized.Dequantize();
    }

    private Tensor OnGradient(Tensor scale, int scaledAxis, int gradientAxis, int rank)
    {
        var factors = scale.reshape(-1);
        // Each group of a transposed convolution has the same output features of the kernel.
        if (_gradient.Transposed && scaledAxis == 1 && scale.shape[scaledAxis] > 1)
            factors = factors.repeat(_gradient.Groups);
        long[] shape = [.. Enumerable.Repeat(1L, rank)];
        shape[gradientAxis] = -1;
        return factors.reshape(shape);
    }
}
