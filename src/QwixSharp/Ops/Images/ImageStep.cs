using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Arrays;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Convolutions;
using static TorchSharp.torch;

namespace QwixSharp.Ops.Images;

/// <summary>One pass over images after the other: a convolution, or values that are there, and what follows value by value, in the order of <see cref="ConvolutionOutput"/>.</summary>
internal sealed unsafe class ImageStep
{
    private int _threads;
    private ConvolutionOutput _output;
    private AlignedMemory? _norm;
    private ImageValue? _addend;
    private ImageValue? _gate;
    private ImageValue? _value;
    private CodeForm _codesForm;
    private Tensor? _result;

    /// <summary>Whether a batch norm can still be added.</summary>
    internal bool TakesNorm => TakesAddend && _norm is null;

    /// <summary>Whether an addition can still be added.</summary>
    internal bool TakesAddend => TakesActivation && _addend is null;

    /// <summary>Whether anything can still be added.</summary>
    internal bool TakesActivation => _output.Activation.Kind == ImageActivationKind.None;

    /// <summary>Whether the pass stores codes.</summary>
    internal bool HasCodes => _output.Codes != 0;

    /// <summary>Begins a pass.</summary>
    /// <param name="threads">How many threads take part.</param>
    internal void Begin(int threads)
    {
        Clear();
        _threads = threads;
    }

    /// <summary>Forgets the pass.</summary>
    internal void Clear()
    {
        if (_norm is not null)
            MemoryPool.Shared.Return(_norm);
        (_output, _norm, _addend, _gate, _value, _codesForm, _result) = (default, null, null, null, null, default, null);
    }

    /// <summary>Adds a bias to a convolution.</summary>
    /// <param name="bias">[channels].</param>
    internal void AddBias(Tensor bias) => _output = _output with { Bias = TensorMemory.Address(bias) };

    /// <summary>Batch norm as one multiplication and one addition a channel, computed as libtorch does it.</summary>
    /// <param name="mean">[channels].</param>
    /// <param name="variance">[channels].</param>
    /// <param name="weight">[channels], or null.</param>
    /// <param name="bias">[channels], or null.</param>
    /// <param name="epsilon">Added to the variance.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal void Normalize(Tensor mean, Tensor variance, Tensor? weight, Tensor? bias, double epsilon)
    {
        int channels = (int)mean.numel();
        _norm = MemoryPool.Shared.Rent(2L * channels * sizeof(float));
        float* factor = (float*)_norm.Pointer, offset = factor + channels;
        float* means = (float*)TensorMemory.Address(mean), variances = (float*)TensorMemory.Address(variance);
        float* weights = weight is null ? null : (float*)TensorMemory.Address(weight), biases = bias is null ? null : (float*)TensorMemory.Address(bias);
        int channel = 0;
        for (; channel + Vector512<float>.Count <= channels; channel += Vector512<float>.Count)
        {
            var f = Vector512<float>.One / Vector512.Sqrt(Vector512.Load(variances + channel) + Vector512.Create((float)epsilon));
            if (weights != null)
                f *= Vector512.Load(weights + channel);
            f.Store(factor + channel);
            ((biases == null ? Vector512<float>.Zero : Vector512.Load(biases + channel)) - (Vector512.Load(means + channel) * f)).Store(offset + channel);
        }

        for (; channel < channels; channel++)
        {
            factor[channel] = 1 / MathF.Sqrt(variances[channel] + (float)epsilon) * (weights == null ? 1 : weights[channel]);
            offset[channel] = (biases == null ? 0 : biases[channel]) - (means[channel] * factor[channel]);
        }

        _output = _output with { Factor = (nint)factor, Offset = (nint)offset };
    }

    /// <summary>Multiplies each channel of an image with a number.</summary>
    /// <param name="gate">Images of one pixel in float32.</param>
    internal void Gate(ImageValue gate)
    {
        _gate = gate;
        _norm = MemoryPool.Shared.Rent((long)gate.Channels * sizeof(float));
        new Span<float>(_norm.Pointer, gate.Channels).Clear();
        _output = _output with { Offset = (nint)_norm.Pointer };
    }

    /// <summary>Adds other images.</summary>
    /// <param name="addend">In float32.</param>
    internal void Add(ImageValue addend) => _addend = addend;

    /// <summary>Brings values between two numbers, which may be infinite.</summary>
    /// <param name="lowest">The least that is left.</param>
    /// <param name="highest">The most that is left.</param>
    internal void Clamp(float lowest, float highest) => _output = _output with { Activation = ImageActivation.Clamp(lowest, highest) };

    /// <summary>Applies the hard sigmoid.</summary>
    internal void HardSigmoid() => _output = _output with { Activation = ImageActivation.HardSigmoid };

    /// <summary>Multiplies values by their hard sigmoid.</summary>
    internal void HardSwish() => _output = _output with { Activation = ImageActivation.HardSwish };

    /// <summary>Ends the pass in a max pool.</summary>
    /// <param name="pool">The pool.</param>
    internal void Pool(ImagePool pool) => _output = _output with { Pool = pool.Window };

    /// <summary>The result is a tensor.</summary>
    /// <param name="result">[images, channels, height, width] float32, contiguous.</param>
    internal void WriteTo(Tensor result) => _result = result;

    /// <summary>The result is images with their channels last: float32 if there is memory for it, and codes if asked for.</summary>
    /// <param name="value">The images.</param>
    internal void WriteTo(ImageValue value)
    {
        _value = value;
        _output = _output with { ChannelsLast = true };
    }

    /// <summary>The pass also stores codes.</summary>
    /// <param name="value">Where.</param>
    /// <param name="form">Which.</param>
    /// <param name="margin">Pixels of padding that those who read them want around each image.</param>
    internal void WriteCodes(ImageValue value, CodeForm form, int margin)
    {
        var stored = _output.Activation.IsNeverNegative ? form.Narrow : form;
        value.AddCodes(form, margin, stored);
        _codesForm = form;
        bool isNarrow = stored != form;
        _output = _output with
        {
            Codes = (nint)value.Codes(0, form),
            CodesMargin = margin,
            CodeScale = form.Scale,
            CodeZeroPoint = form.ZeroPoint,
            CodeRange = isNarrow ? form.Range with { Lowest = 0 } : form.Range,
            StoresNarrow = isNarrow,
        };
    }

    /// <summary>Runs the pass behind a convolution of codes.</summary>
    /// <param name="layer">The convolution.</param>
    /// <param name="form">The form of its input.</param>
    /// <param name="input">The input, with codes of that form.</param>
    /// <returns>Whether all values were finite.</returns>
    internal bool Convolve(ConvolutionLayer layer, CodeForm form, ImageValue input)
    {
        var (isFinite, stored) = (true, input.Stored(form));
        for (int image = 0; image < input.Count; image++)
        {
            var codes = new ConvolutionInput((nint)input.Codes(image, form), ImageForm.UnsignedCodes, input.Height, input.Width, stored.Scale, stored.ZeroPoint, stored.Range, input.Margin(form));
            isFinite &= layer.Kernel.Run(codes, Of(image), _threads);
        }

        return isFinite;
    }

    /// <summary>Runs the pass behind a convolution of a tensor.</summary>
    /// <param name="layer">The convolution.</param>
    /// <param name="form">How its input is quantized.</param>
    /// <param name="input">[images, channels, height, width] float32, contiguous.</param>
    /// <returns>Whether all values were finite.</returns>
    internal bool Convolve(ConvolutionLayer layer, CodeForm form, Tensor input)
    {
        long count = input.size(0), size = input.numel() / count;
        var isFinite = true;
        for (int image = 0; image < count; image++)
        {
            var floats = new ConvolutionInput((nint)((float*)TensorMemory.Address(input) + (image * size)), ImageForm.FloatsChannelsFirst, (int)input.size(2), (int)input.size(3), form.Scale, form.ZeroPoint, form.Range);
            isFinite &= layer.Kernel.Run(floats, Of(image), _threads);
        }

        return isFinite;
    }

    /// <summary>Runs the pass over values that are there.</summary>
    /// <param name="input">In float32.</param>
    /// <returns>Whether all values were finite.</returns>
    internal bool Finish(ImageValue input)
    {
        var isFinite = true;
        for (int image = 0; image < input.Count; image++)
            isFinite &= FloatFinish.Run(input.Floats(image), input.Height, input.Width, input.Channels, Of(image), _threads);
        return isFinite;
    }

    /// <summary>The output of one image.</summary>
    private ConvolutionOutput Of(int image)
    {
        var output = _output with { Addend = _addend is null ? 0 : (nint)_addend.Floats(image) };
        if (_gate is not null)
            output = output with { Factor = (nint)_gate.Floats(image) };
        if (_result is not null)
            return output with { Floats = (nint)((float*)TensorMemory.Address(_result) + (image * (_result.numel() / _result.size(0)))) };
        return output with { Floats = (nint)_value!.Floats(image), Codes = HasCodes ? (nint)_value.Codes(image, _codesForm) : 0 };
    }
}
