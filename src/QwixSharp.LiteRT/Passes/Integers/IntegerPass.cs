using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;
using QwixSharp.LiteRT.Lowering;
using QwixSharp.Providers.Odml.Device;

namespace QwixSharp.LiteRT.Passes.Integers;

/// <summary>
/// Turns a graph with fake-quants into one on integers. Ops whose activations all have integers, and for which LiteRT has a
/// kernel, compute on these; the others compute in floating point, with conversions around them.
/// </summary>
internal sealed class IntegerPass
{
    private const int SmallWeight = 160;

    /// <summary>XNNPACK scales the sums of int8 products by less than this, and refuses the whole file otherwise.</summary>
    private const double LargestFactor = 256;

    private readonly Graph _graph;
    private readonly IntegerRanges _ranges;
    private readonly List<GraphOp> _ops = [];
    private readonly Dictionary<GraphTensor, GraphTensor> _reals = [];
    private readonly Dictionary<GraphTensor, GraphTensor> _replaced = [];

    private IntegerPass(Graph graph)
    {
        _graph = graph;
        _ranges = new IntegerRanges(graph);
    }

    internal static void Run(Graph graph, LiteRtOptions options)
    {
        DynamicRanges.Resolve(graph);
        ProductSplitting.Split(graph);
        new IntegerPass(graph).Rewrite(options);
    }

    private void Rewrite(LiteRtOptions options)
    {
        foreach (var tensor in _ranges.Tensors)
        {
            var codes = _ranges.Of(tensor)!;
            (tensor.Type, tensor.Quantization) = (codes.Type, codes.Parameters);
        }

        foreach (var (name, input) in _graph.Inputs.ToList())
        {
            if (_ranges.Of(input) is null || options.IntegerInputs)
                continue;
            var real = new GraphTensor(LiteRtType.Float32, input.Shape, name);
            _graph.Inputs[_graph.Inputs.IndexOf((name, input))] = (name, real);
            _ops.Add(new GraphOp(BuiltinOp.Quantize, "the inputs") { Inputs = [real], Outputs = [input] });
        }

        foreach (var op in _graph.Ops)
            Rewrite(op);
        for (int i = 0; i < _graph.Outputs.Count; i++)
        {
            var (name, output) = _graph.Outputs[i];
            output = Current(output);
            _graph.Outputs[i] = (name, _ranges.Of(output) is null || options.IntegerOutputs ? output : Real(output));
        }

        _graph.Ops.Clear();
        _graph.Ops.AddRange(_ops);
    }

    private void Rewrite(GraphOp op)
    {
        for (int i = 0; i < op.Inputs.Count; i++)
            op.Inputs[i] = op.Inputs[i] is { } input ? Current(input) : null;
        if (op.Op == BuiltinOp.FakeQuant)
            Requantize(op);
        else if (!TryInteger(op) && !TryGather(op))
            Float(op);
    }

    /// <summary>A fake-quant vanishes where its operand has the same integers.</summary>
    private void Requantize(GraphOp op)
    {
        if (_ranges.Of(op.Inputs[0]) is { } before && before.Same(_ranges.Of(op.Output)!))
            _replaced[op.Output] = op.Inputs[0]!;
        else
            _ops.Add(new GraphOp(BuiltinOp.Quantize, op.Place) { Inputs = [op.Inputs[0]], Outputs = [op.Output] });
    }

    private bool TryInteger(GraphOp op)
    {
        if (op.IsHybrid || _ranges.Of(op.Output) is not { } after)
            return false;
        if (IntegerOps.Products.Contains(op.Op))
            return TryProduct(op, after);
        if (op.Op == BuiltinOp.Div && op.Inputs[1] is { IsConstant: true, Elements: 1 } divisor)
            op = new GraphOp(BuiltinOp.Mul, op.Place) { Inputs = [op.Inputs[0], GraphBuilder.Constant(divisor.Constant!.reciprocal())], Outputs = op.Outputs, Options = op.Options };
        bool moves = IntegerOps.Moves(op) && IntegerOps.IsExact(op, after.Type);
        if (!moves && !IntegerOps.Rescales(op, after.Type) && !HasFixedOutput(op, after))
            return false;

        var common = moves ? Common(op) : after;
        var inputs = op.Inputs.ToList();
        foreach (int i in IntegerOps.ValueInputs(op))
        {
            var input = inputs[i]!;
            if (input.IsConstant)
                inputs[i] = moves ? IntegerConstants.Encode(input, common) : IntegerConstants.Operand(input, after);
            else if (_ranges.Of(input)?.Type != after.Type)
                return false;
            if (inputs[i] is null)
                return false;
        }

        if (op.Op is BuiltinOp.Add or BuiltinOp.Sub && !ElementwiseKernels.AddsCodes(Scale(inputs[0]!), Scale(inputs[1]!), (float)after.Scale, after.Type == LiteRtType.Int16))
            return false;
        op.Inputs.Clear();
        op.Inputs.AddRange(inputs);
        if (after.Type == LiteRtType.Int16 && op.Op is BuiltinOp.Add or BuiltinOp.Sub)
            op.Options["pot_scale_int16"] = 0;
        if (moves)
            Move(op, common);
        else
            _ops.Add(op);
        return true;
    }

    private static float Scale(GraphTensor codes) => codes.Quantization!.Scales[0];

    private static bool HasFixedOutput(GraphOp op, FakeQuant after) =>
        IntegerOps.FixedOutput(op.Op, after.Type) is var (scale, zeroPoint) && Math.Abs(after.Scale - scale) < 1e-3 * scale && after.ZeroPoint == zeroPoint;

    private bool TryProduct(GraphOp op, FakeQuant after)
    {
        int place = IntegerOps.ValueInputs(op).First(), biasPlace = op.Op == BuiltinOp.TransposeConv ? 3 : 2;
        var weight = op.Inputs[1]!;
        if (_ranges.Of(op.Inputs[place]) is not { } before || before.Type != after.Type || weight.FakeQuant is not { IsDynamic: false } codes || !weight.IsConstant)
            return false;
        var bias = op.Inputs.ElementAtOrDefault(biasPlace);
        if (after.Type == LiteRtType.Int8 && IntegerConstants.SumScales(before, codes).Max() / after.Scale >= LargestFactor)
        {
            // Sums that are not 0 are beyond all codes, in floating point too.
            op.Inputs[biasPlace] = bias is null ? null : IntegerConstants.RoundedBias(bias, before, codes);
            return false;
        }

        IntegerConstants.NarrowSums(op, weight, bias, before);
        if (bias is not null)
            op.Inputs[biasPlace] = IntegerConstants.Bias(op, bias, before, codes);
        op.Inputs[1] = IntegerConstants.Weight(op, weight);
        _ops.Add(op);
        return true;
    }

    /// <summary>The integers that an op which moves codes works on: those of its one input, or those of the output where it has several.</summary>
    private FakeQuant Common(GraphOp op)
    {
        var values = IntegerOps.ValueInputs(op).Select(i => op.Inputs[i]!).ToList();
        return values is [{ IsConstant: false } only] && _ranges.Of(only) is { } before ? before : _ranges.Of(op.Output)!;
    }

    /// <summary>An op that moves codes: inputs with other integers are converted first, and outputs afterwards.</summary>
    private void Move(GraphOp op, FakeQuant codes)
    {
        foreach (int i in IntegerOps.ValueInputs(op).Where(i => !op.Inputs[i]!.IsConstant))
            op.Inputs[i] = Converted(op.Inputs[i]!, codes, op.Place);
        List<GraphOp> after = [];
        for (int i = 0; i < op.Outputs.Count; i++)
        {
            var output = op.Outputs[i];
            if (_ranges.Of(output) is not { } wanted || wanted.Same(codes))
                continue;
            op.Outputs[i] = new GraphTensor(codes.Type, output.Shape) { Quantization = codes.Parameters };
            after.Add(new GraphOp(BuiltinOp.Quantize, op.Place) { Inputs = [op.Outputs[i]], Outputs = [output] });
        }

        _ops.Add(op);
        _ops.AddRange(after);
    }

    private GraphTensor Converted(GraphTensor tensor, FakeQuant codes, string place)
    {
        if (_ranges.Of(tensor)!.Same(codes))
            return tensor;
        var converted = new GraphTensor(codes.Type, tensor.Shape) { Quantization = codes.Parameters };
        _ops.Add(new GraphOp(BuiltinOp.Quantize, place) { Inputs = [tensor], Outputs = [converted] });
        return converted;
    }

    private void Float(GraphOp op)
    {
        for (int i = 0; i < op.Inputs.Count; i++)
        {
            if (op.Inputs[i] is { } input)
                op.Inputs[i] = input.IsConstant ? FloatConstant(op, i, input) : _ranges.Of(input) is null ? input : Real(input);
        }

        List<GraphOp> after = [];
        for (int i = 0; i < op.Outputs.Count; i++)
        {
            var output = op.Outputs[i];
            if (_ranges.Of(output) is null)
                continue;
            op.Outputs[i] = new GraphTensor(LiteRtType.Float32, output.Shape);
            after.Add(new GraphOp(BuiltinOp.Quantize, op.Place) { Inputs = [op.Outputs[i]], Outputs = [output] });
        }

        _ops.Add(op);
        _ops.AddRange(after);
    }

    /// <summary>
    /// A weight is stored as integers also where it is used in floating point, unless it is so small that the op which converts
    /// it would take more room than that saves.
    /// </summary>
    private GraphTensor FloatConstant(GraphOp op, int place, GraphTensor constant)
    {
        bool isWeight = place == 1 && IntegerOps.Products.Contains(op.Op);
        if (constant.FakeQuant is not { IsDynamic: false } codes || (!isWeight && op.Op != BuiltinOp.Gather))
            return constant;
        if (!isWeight && codes.Scales.Length > 1 && codes.Scales.Length != constant.Shape[0])
            return constant;
        if (!op.IsHybrid && constant.Elements <= SmallWeight)
            return constant;
        var integers = IntegerConstants.Weight(op, constant);
        return op.IsHybrid ? integers : Real(integers);
    }

    /// <summary>Rows of a table are taken as integers and converted then: the whole table would be converted at each run.</summary>
    private bool TryGather(GraphOp op)
    {
        if (op.Op != BuiltinOp.Gather || op.Inputs[0] is not { IsConstant: true, FakeQuant: { IsDynamic: false, Type: LiteRtType.Int8, Scales.Length: 1 } } table || table.Elements <= SmallWeight)
            return false;
        op.Inputs[0] = IntegerConstants.Weight(op, table);
        var (codes, rows) = (table.FakeQuant!, op.Output);
        op.Outputs[0] = new GraphTensor(codes.Type, rows.Shape) { Quantization = codes.Parameters };
        _ops.Add(op);
        _ops.Add(new GraphOp(_ranges.Of(rows) is null ? BuiltinOp.Dequantize : BuiltinOp.Quantize, op.Place) { Inputs = [op.Output], Outputs = [rows] });
        return true;
    }

    /// <summary>The tensor's values in floating point.</summary>
    private GraphTensor Real(GraphTensor codes)
    {
        if (_reals.TryGetValue(codes, out var real))
            return real;
        real = new GraphTensor(LiteRtType.Float32, codes.Shape);
        _ops.Add(new GraphOp(BuiltinOp.Dequantize, "a conversion") { Inputs = [codes], Outputs = [real] });
        return _reals[codes] = real;
    }

    private GraphTensor Current(GraphTensor tensor) => _replaced.GetValueOrDefault(tensor, tensor);
}
