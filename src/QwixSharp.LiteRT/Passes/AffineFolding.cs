using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;
using QwixSharp.LiteRT.Lowering;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Passes;

/// <summary>
/// Constants that are multiplied with or added to each channel go into the weights and the bias of the product before
/// or after: batch norm, the last step of layer norm, scalings.
/// </summary>
internal static class AffineFolding
{
    private static readonly HashSet<BuiltinOp> Products = [BuiltinOp.Conv2D, BuiltinOp.DepthwiseConv2D, BuiltinOp.TransposeConv, BuiltinOp.FullyConnected];

    /// <summary>product(x) · a + b becomes a product with other weights.</summary>
    internal static void IntoProducers(Graph graph)
    {
        bool changed = true;
        while (changed)
        {
            changed = false;
            var uses = new GraphUses(graph);
            foreach (var op in graph.Ops)
            {
                if (Affine(op) is not { } affine || uses.OnlyFor(affine.Operand) is not { } product || !Products.Contains(product.Op) || product.Option("fused_activation_function") != 0)
                    continue;
                if (!affine.Operand.Shape.SequenceEqual(op.Output.Shape) || PerChannel(affine.Constant, op.Output.Shape[^1]) is not { } values || !Weight(product).IsConstant || uses.IsShared(Weight(product)))
                    continue;
                Fold(product, op.Output, affine.Factor(values), affine.Shift(values));
                graph.Ops.Remove(op);
                changed = true;
                break;
            }
        }
    }

    /// <summary>W(x · a + b) becomes a product with other weights, where only such products read x · a + b.</summary>
    internal static void IntoReaders(Graph graph)
    {
        bool changed = true;
        while (changed)
        {
            changed = false;
            var uses = new GraphUses(graph);
            foreach (var op in graph.Ops)
            {
                if (Affine(op) is not { } affine || !affine.Operand.Shape.SequenceEqual(op.Output.Shape) || PerChannel(affine.Constant, op.Output.Shape[^1]) is not { } values)
                    continue;
                var readers = uses.Readers(op.Output);
                if (uses.IsOutput(op.Output) || readers.Count == 0 || op.Option("fused_activation_function") != 0 || !readers.All(r => TakesIn(r, op.Output, uses)))
                    continue;
                foreach (var reader in readers)
                    FoldInput(reader, affine.Operand, affine.Factor(values), affine.Shift(values));
                graph.Ops.Remove(op);
                changed = true;
                break;
            }
        }
    }

    private static bool TakesIn(GraphOp reader, GraphTensor tensor, GraphUses uses) =>
        reader.Op == BuiltinOp.FullyConnected && ReferenceEquals(reader.Inputs[0], tensor) && reader.Inputs[1] is { IsConstant: true, FakeQuant: null } weight && !uses.IsShared(weight)
        && weight.Shape[1] == tensor.Shape[^1];

    /// <summary>What an op does to its operand, if it is factor · x + shift with constants.</summary>
    private static (GraphTensor Operand, GraphTensor Constant, Func<Tensor, Tensor?> Factor, Func<Tensor, Tensor?> Shift)? Affine(GraphOp op)
    {
        if (op.Inputs.Count != 2 || op.Output.Type != LiteRtType.Float32)
            return null;
        bool right = op.Inputs[1]!.IsConstant;
        if (right == op.Inputs[0]!.IsConstant)
            return null;
        var (operand, constant) = right ? (op.Inputs[0]!, op.Inputs[1]!) : (op.Inputs[1]!, op.Inputs[0]!);
        return (op.Op, right) switch
        {
            (BuiltinOp.Mul, _) => (operand, constant, c => c, _ => null),
            (BuiltinOp.Div, true) => (operand, constant, c => c.reciprocal(), _ => null),
            (BuiltinOp.Add, _) => (operand, constant, _ => null, c => c),
            (BuiltinOp.Sub, true) => (operand, constant, _ => null, c => -c),
            (BuiltinOp.Sub, false) => (operand, constant, c => -ones_like(c), c => c),
            _ => null,
        };
    }

    /// <summary>A constant as one number for each channel, in double precision; null where it differs along other axes.</summary>
    private static Tensor? PerChannel(GraphTensor constant, int channels) =>
        constant.Elements == 1 || (constant.Shape[^1] == channels && constant.Elements == channels)
            ? constant.Constant!.reshape(-1).to(ScalarType.Float64).expand(channels)
            : null;

    private static GraphTensor Weight(GraphOp product) => product.Inputs[1]!;

    private static int Bias(GraphOp product) => product.Op == BuiltinOp.TransposeConv ? 3 : 2;

    private static void Fold(GraphOp product, GraphTensor output, Tensor? factor, Tensor? shift)
    {
        int channels = output.Shape[^1], place = Bias(product);
        var weight = Weight(product);
        var bias = product.Inputs[place]?.Constant!.to(ScalarType.Float64) ?? zeros(channels, ScalarType.Float64);
        if (factor is not null)
        {
            long[] shape = [.. Enumerable.Repeat(1L, weight.Rank)];
            shape[product.Op == BuiltinOp.DepthwiseConv2D ? 3 : 0] = channels;
            product.Inputs[1] = Scaled(weight, factor.reshape(shape), weight.FakeQuant is { } codes ? codes with { Scales = ScaledBy(codes.Scales, factor) } : null);
            bias = bias * factor;
        }

        if (shift is not null)
            bias = bias + shift;
        product.Inputs[place] = GraphBuilder.Constant(bias.to(ScalarType.Float32), product.Inputs[place]?.Name ?? "");
        product.Outputs[0] = output;
    }

    /// <summary>A weight times a factor for each channel, which is multiplied with one that it has for the same channels.</summary>
    private static GraphTensor Scaled(GraphTensor weight, Tensor factor, FakeQuant? codes)
    {
        bool sameChannels = weight.Factor is null || weight.Factor.shape.SequenceEqual(factor.shape);
        return new GraphTensor(weight.Type, weight.Shape, weight.Name)
        {
            Constant = sameChannels ? weight.Stored : weight.Constant,
            Factor = (sameChannels && weight.Factor is { } before ? before * factor : factor).to(ScalarType.Float32),
            FakeQuant = codes,
        };
    }

    /// <summary>The codes of a weight stay, but for signs; the scale of each channel takes the factor. A factor of 0 makes all codes 0.</summary>
    private static double[] ScaledBy(double[] scales, Tensor factor) =>
        [.. factor.contiguous().data<double>().ToArray().Select((f, channel) => scales[scales.Length == 1 ? 0 : channel] * (f == 0 ? 1 : Math.Abs(f)))];

    private static void FoldInput(GraphOp product, GraphTensor operand, Tensor? factor, Tensor? shift)
    {
        var weight = Weight(product);
        if (shift is not null)
        {
            var bias = product.Inputs.Count > 2 ? product.Inputs[2]?.Constant!.to(ScalarType.Float64) : null;
            using var exact = weight.Constant!.to(ScalarType.Float64);
            var added = exact.mv(shift.contiguous());
            product.Inputs[2] = GraphBuilder.Constant((bias is null ? added : bias + added).to(ScalarType.Float32), product.Inputs[2]?.Name ?? "");
        }

        if (factor is not null)
            product.Inputs[1] = Scaled(weight, factor.unsqueeze(0), null);
        product.Inputs[0] = operand;
    }
}
