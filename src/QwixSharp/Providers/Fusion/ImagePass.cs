using QwixSharp.Interception.Deferred;
using QwixSharp.Ops.Images;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>Runs an <see cref="ImageChain"/>.</summary>
internal sealed class ImagePass
{
    /// <summary>Kept for the next chain of the thread.</summary>
    [ThreadStatic]
    private static ImagePass? _cached;

    private readonly Dictionary<DeferredNode, ImageValue> _values = [];
    private readonly List<ImageValue> _leaves = [];
    private readonly HashSet<DeferredNode> _done = [];
    private readonly ImageStep _step = new();

    /// <summary>What the step that is being put together reads besides its input.</summary>
    private readonly List<(DeferredNode Op, int Operand)> _alsoRead = [];

    private ImageChain _chain = null!;
    private int _threads;
    private Tensor? _result;

    /// <summary>Computes all of a chain.</summary>
    /// <returns>The value of its last op; null where some values have no codes.</returns>
    internal static Tensor? Run(ImageChain chain)
    {
        var pass = _cached ?? new ImagePass();
        _cached = null;
        try
        {
            return pass.Compute(chain);
        }
        finally
        {
            pass.Clear();
            _cached = pass;
        }
    }

    private Tensor? Compute(ImageChain chain)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        (_chain, _threads) = (chain, get_num_threads());
        foreach (var node in chain.Nodes)
        {
            if (_done.Contains(node))
                continue;
            bool isFinite = node.Kind switch
            {
                OpKind.MaxPool => MaxPool(node),
                OpKind.AveragePool => Pooled(node, Floats(node, 0).Mean()),
                _ => Elementwise(node),
            };
            if (!isFinite)
                return null;
        }

        return _result!.MoveToOuterDisposeScope();
    }

    private void Clear()
    {
        foreach (var value in _values.Values)
            value.Dispose();
        _leaves.ForEach(l => l.Dispose());
        _values.Clear();
        _leaves.Clear();
        _done.Clear();
        _step.Clear();
        _alsoRead.Clear();
        (_chain, _result) = (null!, null);
    }

    /// <summary>A convolution, or another op that computes each value by itself, with those behind it that fit into the same step.</summary>
    private bool Elementwise(DeferredNode node)
    {
        var step = _step;
        step.Begin(_threads);
        var last = node;
        if (node.Kind != OpKind.Convolution)
            Absorb(node, last, step);
        else if (((ConvolutionPayload)node.Payload!).Bias is { } bias)
            step.AddBias(bias);
        while (last != _chain.Root && _chain.ReadersOf(last).Single is { } next && Absorb(next, last, step))
        {
            _done.Add(next);
            last = next;
        }

        if (last != _chain.Root && node.Payload is ConvolutionPayload { Layer.Pools: true } && _chain.ReadersOf(last).Single is { Payload: ImagePool pool } poolNode)
        {
            step.Pool(pool);
            _done.Add(poolNode);
            last = poolNode;
        }

        var value = Make(last, step, out var others);
        int input = node.Kind == OpKind.Multiply && ImageChain.Gate(node) == 0 ? 1 : 0;
        bool isFinite = node.Kind == OpKind.Convolution ? Convolve(node, step) : step.Finish(Floats(node, input));
        foreach (var form in others ?? [])
            isFinite &= value!.Quantize(form, MarginFor(last, form), _threads);
        Release(node, input);
        foreach (var (op, operand) in _alsoRead)
            Release(op, operand);
        _alsoRead.Clear();
        return isFinite;
    }

    /// <summary>Adds an op to a step that ends in <paramref name="last"/>, if it fits behind what is in it.</summary>
    private bool Absorb(DeferredNode next, DeferredNode last, ImageStep step)
    {
        switch (next.Kind)
        {
            case OpKind.BatchNorm when step.TakesNorm:
                var norm = (NormPayload)next.Payload!;
                step.Normalize(norm.Mean, norm.Variance, norm.Weight, norm.Bias, norm.Epsilon);
                return true;
            case OpKind.Clamp when step.TakesActivation:
                step.Clamp((float)next.Number, (float)next.UpperBound);
                return true;
            case OpKind.HardSigmoid when step.TakesActivation:
                step.HardSigmoid();
                return true;
            case OpKind.HardSwish when step.TakesActivation:
                step.HardSwish();
                return true;
            case OpKind.Add when step.TakesAddend:
                int other = next == last || _chain.Source(next, 0) == last ? 1 : 0;
                if (next != last && _chain.Source(next, other) is { } source && (source == last || !_values.ContainsKey(source)))
                    return false;
                if (!ShapeOf(next, other).AsSpan().SequenceEqual(next.Shape) || !ShapeOf(next, 1 - other).AsSpan().SequenceEqual(next.Shape))
                    return false;
                step.Add(Floats(next, other));
                _alsoRead.Add((next, other));
                return true;
            case OpKind.Multiply when next == last && ImageChain.Gate(next) is { } gate:
                step.Gate(Floats(next, gate));
                _alsoRead.Add((next, gate));
                return true;
            default:
                return false;
        }
    }

    private long[] ShapeOf(DeferredNode node, int operand) => _chain.Source(node, operand)?.Shape ?? _chain.Leaf(node, operand).shape;

    /// <summary>Where an op's result goes: the tensor of the whole chain, or a value in the forms that its readers want.</summary>
    /// <param name="node">The op.</param>
    /// <param name="step">The step that computes it.</param>
    /// <param name="others">The forms of codes that the step does not make; null for none.</param>
    private ImageValue? Make(DeferredNode node, ImageStep step, out List<CodeForm>? others)
    {
        others = null;
        if (node == _chain.Root)
        {
            _result = empty(node.Shape, dtype: ScalarType.Float32);
            step.WriteTo(_result);
            return null;
        }

        var value = new ImageValue((int)node.Shape[0], (int)node.Shape[1], (int)node.Shape[2], (int)node.Shape[3]);
        _values[node] = value;
        ref readonly var readers = ref _chain.ReadersOf(node);
        value.Readers = readers.Count;
        for (int i = 0; i < readers.Count; i++)
        {
            var reader = readers[i];
            if (reader.Kind != OpKind.Convolution)
            {
                value.AddFloats();
                continue;
            }

            var form = ((ConvolutionPayload)reader.Payload!).Form;
            if (form.IsOfEachImage)
            {
                value.AddFloats();
                continue;
            }

            if (value.HasCodes(form) || others?.Contains(form) == true)
                continue;
            if (step.HasCodes)
            {
                value.AddFloats();
                (others ??= []).Add(form);
            }
            else
            {
                step.WriteCodes(value, form, MarginFor(node, form));
            }
        }

        step.WriteTo(value);
        return value;
    }

    /// <summary>The padding that the convolutions which read codes of an op's result want around them.</summary>
    private int MarginFor(DeferredNode node, CodeForm form)
    {
        int margin = 0;
        ref readonly var readers = ref _chain.ReadersOf(node);
        for (int i = 0; i < readers.Count; i++)
        {
            if (readers[i].Payload is ConvolutionPayload payload && payload.Form == form)
                margin = Math.Max(margin, payload.Layer.Margin);
        }

        return margin;
    }

    private bool Convolve(DeferredNode node, ImageStep step)
    {
        var payload = (ConvolutionPayload)node.Payload!;
        if (_chain.Source(node, 0) is not { } source)
            return step.Convolve(payload.Layer, payload.Form, _chain.Leaf(node, 0).contiguous());
        var value = _values[source];
        if (payload.Form.IsOfEachImage && !value.HasCodes(payload.Form) && !value.Quantize(payload.Form, MarginFor(source, payload.Form), _threads))
            return false;
        return step.Convolve(payload.Layer, payload.Form, value);
    }

    private bool MaxPool(DeferredNode node)
    {
        return Pooled(node, Floats(node, 0).MaxPool((ImagePool)node.Payload!, _threads));
    }

    private bool Pooled(DeferredNode node, ImageValue pooled)
    {
        Release(node, 0);
        if (node == _chain.Root)
        {
            _result = empty(node.Shape, dtype: ScalarType.Float32);
            _step.Begin(_threads);
            _step.WriteTo(_result);
            _step.Finish(pooled);
            pooled.Dispose();
            return true;
        }

        _values[node] = pooled;
        bool isFinite = true;
        ref readonly var readers = ref _chain.ReadersOf(node);
        pooled.Readers = readers.Count;
        for (int i = 0; i < readers.Count; i++)
        {
            if (readers[i].Payload is ConvolutionPayload { Form: { IsOfEachImage: false } form } && !pooled.HasCodes(form))
                isFinite &= pooled.Quantize(form, MarginFor(node, form), _threads);
        }

        return isFinite;
    }

    /// <summary>An operand in float32 with its channels last.</summary>
    private ImageValue Floats(DeferredNode node, int operand)
    {
        if (_chain.Source(node, operand) is { } source)
            return _values[source];
        var value = ImageValue.Of(_chain.Leaf(node, operand));
        _leaves.Add(value);
        return value;
    }

    /// <summary>An op has read an operand.</summary>
    private void Release(DeferredNode node, int operand)
    {
        if (_chain.Source(node, operand) is { } source && --_values[source].Readers == 0)
            _values[source].Dispose();
    }
}
