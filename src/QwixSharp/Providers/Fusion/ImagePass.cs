using System.Runtime.CompilerServices;
using QwixSharp.Arrays;
using QwixSharp.Interception.Deferred;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Convolutions;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>Runs an <see cref="ImageChain"/>.</summary>
internal sealed unsafe class ImagePass(ImageChain chain) : IDisposable
{
    private readonly Dictionary<DeferredNode, ImageValue> _values = [];
    private readonly List<ImageValue> _leaves = [];
    private readonly HashSet<DeferredNode> _done = [];
    private readonly List<AlignedMemory> _parameters = [];
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly int _threads = get_num_threads();
    private Tensor? _result;

    /// <summary>The addition in the pass that is being put together, and the operand that it adds.</summary>
    private (DeferredNode Sum, int Operand)? _adding;

    /// <summary>Computes all of the chain.</summary>
    /// <returns>The value of its last op; null where some values have no codes.</returns>
    internal Tensor? Run()
    {
        using var noGrad = no_grad();
        foreach (var node in chain.Nodes)
        {
            if (_done.Contains(node))
                continue;
            bool isFinite = node.Kind switch
            {
                OpKind.MaxPool => MaxPool(node),
                OpKind.AveragePool => AveragePool(node),
                _ => Elementwise(node),
            };
            if (!isFinite)
                return null;
        }

        return _result!.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var value in _values.Values)
            value.Dispose();
        _leaves.ForEach(l => l.Dispose());
        _parameters.ForEach(MemoryPool.Shared.Return);
        _scope.Dispose();
    }

    /// <summary>A convolution, or another op that computes each value by itself, with those behind it that fit into the same pass.</summary>
    private bool Elementwise(DeferredNode node)
    {
        var output = new ConvolutionOutput();
        ImageValue? addend = null;
        var last = node;
        if (node.Kind != OpKind.Convolution)
            Absorb(node, last, ref output, ref addend);
        else if (((ConvolutionPayload)node.Payload!).Bias is { } bias)
            output = output with { Bias = TensorMemory.Address(bias) };
        while (last != chain.Root && chain.ReadersOf(last) is [var next] && Absorb(next, last, ref output, ref addend))
        {
            _done.Add(next);
            last = next;
        }

        var value = Make(last, ref output, out var others);
        bool isFinite = true;
        ImageValue? input = node.Kind == OpKind.Convolution ? null : Floats(node, 0);
        for (int image = 0; image < node.Shape[0]; image++)
        {
            var at = At(output, value, addend, image);
            isFinite &= input is null ? Convolve(node, image, at) : FloatFinish.Run(input.Floats(image), input.Pixels, input.Channels, at, _threads);
        }

        foreach (var form in others)
            isFinite &= value!.Quantize(form, _threads);
        Release(node, 0);
        if (_adding is var (sum, operand))
            Release(sum, operand);
        _adding = null;
        return isFinite;
    }

    /// <summary>Adds an op to a pass that ends in <paramref name="last"/>, if it fits behind what is in it.</summary>
    private bool Absorb(DeferredNode next, DeferredNode last, ref ConvolutionOutput output, ref ImageValue? addend)
    {
        if (output.Activation != FusedActivation.None)
            return false;
        switch (next.Kind)
        {
            case OpKind.BatchNorm when output.Factor == 0 && addend is null:
                var (factor, offset) = Norm((NormPayload)next.Payload!, (int)next.Shape[1]);
                output = output with { Factor = factor, Offset = offset };
                return true;
            case OpKind.Relu or OpKind.Relu6:
                output = output with { Activation = next.Kind == OpKind.Relu ? FusedActivation.Relu : FusedActivation.Relu6 };
                return true;
            case OpKind.Add when addend is null:
                int other = next == last || chain.Source(next, 0) == last ? 1 : 0;
                if (next != last && chain.Source(next, other) is { } source && (source == last || !_values.ContainsKey(source)))
                    return false;
                if (!ShapeOf(next, other).AsSpan().SequenceEqual(next.Shape) || !ShapeOf(next, 1 - other).AsSpan().SequenceEqual(next.Shape))
                    return false;
                addend = Floats(next, other);
                _adding = (next, other);
                return true;
            default:
                return false;
        }
    }

    private long[] ShapeOf(DeferredNode node, int operand) => chain.Source(node, operand)?.Shape ?? chain.Leaf(node, operand).shape;

    /// <summary>Where an op's result goes: the tensor of the whole chain, or a value in the forms that its readers want.</summary>
    /// <param name="node">The op.</param>
    /// <param name="output">Takes what the pass makes of the codes.</param>
    /// <param name="others">The forms of codes that the pass does not make.</param>
    private ImageValue? Make(DeferredNode node, ref ConvolutionOutput output, out List<CodeForm> others)
    {
        others = [];
        if (node == chain.Root)
        {
            _result = empty(node.Shape, dtype: ScalarType.Float32);
            return null;
        }

        var value = new ImageValue((int)node.Shape[0], (int)node.Shape[1], (int)node.Shape[2], (int)node.Shape[3]);
        _values[node] = value;
        foreach (var reader in chain.ReadersOf(node))
        {
            value.Readers++;
            if (reader.Kind != OpKind.Convolution)
            {
                value.AddFloats();
                continue;
            }

            var form = ((ConvolutionPayload)reader.Payload!).Form;
            if (value.HasCodes(form) || others.Contains(form))
                continue;
            if (output.Codes == 0)
            {
                value.AddCodes(form);
                output = output with { Codes = (nint)value.Codes(0, form), CodeScale = form.Scale, CodeZeroPoint = form.ZeroPoint, CodeRange = form.Range };
            }
            else
            {
                value.AddFloats();
                others.Add(form);
            }
        }

        output = output with { ChannelsLast = true };
        return value;
    }

    private ConvolutionOutput At(in ConvolutionOutput output, ImageValue? value, ImageValue? addend, int image)
    {
        var at = output with { Addend = addend is null ? 0 : (nint)addend.Floats(image) };
        if (value is null)
            return at with { Floats = (nint)((float*)TensorMemory.Address(_result!) + image * (_result!.numel() / _result.size(0))) };
        return at with { Floats = (nint)value.Floats(image), Codes = output.Codes == 0 ? 0 : output.Codes + (nint)(image * value.Size) };
    }

    private bool Convolve(DeferredNode node, int image, in ConvolutionOutput output)
    {
        var payload = (ConvolutionPayload)node.Payload!;
        var form = payload.Form;
        if (chain.Source(node, 0) is { } source)
        {
            var value = _values[source];
            var codes = new ConvolutionInput((nint)value.Codes(image, form), ImageForm.UnsignedCodes, value.Height, value.Width, form.Scale, form.ZeroPoint, form.Range);
            return payload.Layer.Kernel.Run(codes, output, _threads);
        }

        var tensor = chain.Leaf(node, 0).contiguous();
        long size = tensor.numel() / tensor.size(0);
        var floats = new ConvolutionInput((nint)((float*)TensorMemory.Address(tensor) + image * size), ImageForm.FloatsChannelsFirst, (int)tensor.size(2), (int)tensor.size(3), form.Scale, form.ZeroPoint, form.Range);
        return payload.Layer.Kernel.Run(floats, output, _threads);
    }

    private bool MaxPool(DeferredNode node)
    {
        var payload = (PoolPayload)node.Payload!;
        var input = Floats(node, 0);
        var shape = new ConvolutionShape
        {
            Height = input.Height,
            Width = input.Width,
            Channels = input.Channels,
            OutChannels = input.Channels,
            KernelHeight = (int)payload.Size[0],
            KernelWidth = (int)payload.Size[1],
            StrideY = (int)payload.Strides[0],
            StrideX = (int)payload.Strides[1],
            PadTop = (int)payload.Padding[0],
            PadBottom = (int)payload.Padding[0],
            PadLeft = (int)payload.Padding[1],
            PadRight = (int)payload.Padding[1],
        };
        return Pool(node, input, (from, to) => ImagePooling.Max((float*)from, shape, (float*)to, _threads));
    }

    private bool AveragePool(DeferredNode node)
    {
        var input = Floats(node, 0);
        return Pool(node, input, (from, to) => ImagePooling.Mean((float*)from, input.Height, input.Width, input.Channels, (float*)to));
    }

    private bool Pool(DeferredNode node, ImageValue input, Action<nint, nint> pool)
    {
        var pooled = new ImageValue(input.Count, input.Channels, (int)node.Shape[2], (int)node.Shape[3]);
        pooled.AddFloats();
        for (int image = 0; image < input.Count; image++)
            pool((nint)input.Floats(image), (nint)pooled.Floats(image));
        Release(node, 0);
        if (node == chain.Root)
        {
            _result = empty(node.Shape, dtype: ScalarType.Float32);
            for (int image = 0; image < input.Count; image++)
                FloatFinish.Run(pooled.Floats(image), pooled.Pixels, pooled.Channels, At(default, null, null, image), _threads);
            pooled.Dispose();
            return true;
        }

        _values[node] = pooled;
        bool isFinite = true;
        foreach (var reader in chain.ReadersOf(node))
        {
            pooled.Readers++;
            if (reader.Kind == OpKind.Convolution && ((ConvolutionPayload)reader.Payload!).Form is var form && !pooled.HasCodes(form))
                isFinite &= pooled.Quantize(form, _threads);
        }

        return isFinite;
    }

    /// <summary>An operand in float32 with its channels last.</summary>
    private ImageValue Floats(DeferredNode node, int operand)
    {
        if (chain.Source(node, operand) is { } source)
            return _values[source];
        var tensor = chain.Leaf(node, operand);
        var value = new ImageValue((int)tensor.size(0), (int)tensor.size(1), (int)tensor.size(2), (int)tensor.size(3));
        value.AddFloats();
        using var channelsLast = tensor.permute(0, 2, 3, 1).contiguous();
        new ReadOnlySpan<float>((void*)TensorMemory.Address(channelsLast), checked((int)channelsLast.numel())).CopyTo(new Span<float>(value.Floats(0), checked((int)channelsLast.numel())));
        _leaves.Add(value);
        return value;
    }

    /// <summary>An op has read an operand.</summary>
    private void Release(DeferredNode node, int operand)
    {
        if (chain.Source(node, operand) is { } source && --_values[source].Readers == 0)
            _values[source].Dispose();
    }

    /// <summary>Batch norm as one multiplication and one addition a channel, computed as libtorch does it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private (nint Factor, nint Offset) Norm(NormPayload norm, int channels)
    {
        var memory = MemoryPool.Shared.Rent(2L * channels * sizeof(float));
        _parameters.Add(memory);
        float* factor = (float*)memory.Pointer, offset = factor + channels;
        float* mean = (float*)TensorMemory.Address(norm.Mean), variance = (float*)TensorMemory.Address(norm.Variance);
        float* weight = norm.Weight is null ? null : (float*)TensorMemory.Address(norm.Weight), bias = norm.Bias is null ? null : (float*)TensorMemory.Address(norm.Bias);
        for (int channel = 0; channel < channels; channel++)
        {
            factor[channel] = 1 / MathF.Sqrt(variance[channel] + (float)norm.Epsilon) * (weight == null ? 1 : weight[channel]);
            offset[channel] = (bias == null ? 0 : bias[channel]) - (mean[channel] * factor[channel]);
        }

        return ((nint)factor, (nint)offset);
    }
}
