using QwixSharp.Interception;
using QwixSharp.Numerics;
using QwixSharp.Providers.OpMap;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml.Device;

/// <summary>What LiteRT's kernel gives for an op, once the codes of its output are known; null where it has no integer kernel for these.</summary>
/// <param name="output">The codes of the output.</param>
internal delegate Tensor? DeviceKernel(FakeQuantAnnotation output);

/// <summary>An operand as codes less their zero point.</summary>
internal sealed record DeviceOperand(Tensor Values, FakeQuantAnnotation Codes)
{
    internal float Scale => Codes.Scale[0];

    internal Tensor Steps() => DeviceCodes.Steps(Values, Codes);

    internal Tensor IntegerSteps() => Steps().to(ScalarType.Int64);
}

/// <summary>
/// Finds the kernels. They compute what LiteRT's own compute (google-ai-edge/LiteRT, tflite/kernels, and google/XNNPACK, which has most of the
/// int8 ones), from the same codes, with the same roundings.
/// </summary>
internal static class DeviceKernels
{
    private static readonly HashSet<string> Cuts = ["relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "pad", "where", "masked_fill"];

    /// <summary>The kernel of an op, whose arguments are quantized; null where floating-point arithmetic rounds as well.</summary>
    internal static DeviceKernel? Of(OdmlRun run, in OpCall call, string name, object?[] arguments)
    {
        if (!run.RoundsAsDevice)
            return null;
        switch (name)
        {
            case "add" or "sub" or "mul" or "div":
                return ElementwiseKernels.Of(run, call, name, arguments);
            case "maximum" or "minimum":
                return ElementwiseKernels.Extreme(run, arguments, name == "maximum" ? maximum : minimum);
            case "leaky_relu" when Operand(run, arguments[0]) is { } x && Number(Arguments.Named(call, "negative_slope")) is { } slope:
                return output => ElementwiseKernels.LeakyRelu(x, (float)slope, output);
            case "hardswish" when Operand(run, arguments[0]) is { } x:
                return output => HardSwishKernel.Of(x, output);
            case "gelu" when Operand(run, arguments[0]) is { } x:
                bool approximates = Arguments.Named(call, "approximate") is TorchSharp.Modules.GELU.Approximate.tanh;
                return output => TableKernels.Gelu(x, approximates, output);
            case "sigmoid" when Operand(run, arguments[0]) is { } x:
                return output => TableKernels.Sigmoid(x, output);
            case "tanh" when Operand(run, arguments[0]) is { } x:
                return output => TableKernels.Tanh(x, output);
            case "softmax" when Operand(run, arguments[0]) is { } x && Number(Arguments.Named(call, "dim")) is { } axis:
                return output => TableKernels.Softmax(x, (long)axis, output);
            case "softmax" when arguments[0] is Tensor { dtype: ScalarType.Float32 } x && run.Tags[x]?.Codes is null && Number(Arguments.Named(call, "dim")) is { } axis:
                return FloatSoftmax.Of(run, x, (long)axis);
            case "layer_norm" when Operand(run, arguments[0]) is { } x:
                return FloatKernels.LayerNorm(run, call, x);
            case "sum" when Operand(run, arguments[0]) is { } x:
                return FloatKernels.Sum(call, x);
            case "normalize" when Operand(run, arguments[0]) is { } x:
                return FloatKernels.Normalize(call, x);
            case "mean" when Operand(run, arguments[0]) is { } x:
                var copy = call;
                object?[] others = arguments[1..];
                return output => ElementwiseKernels.Mean(x, steps => (Tensor)run.Execute(copy, copy.Op, [steps, .. others])!, output);
            default:
                return null;
        }
    }

    /// <summary>An op that moves codes, joins them or cuts them off, after kernels: it sees their outputs, and what it joins in the output's codes.</summary>
    /// <param name="run">The forward pass.</param>
    /// <param name="call">The call.</param>
    /// <param name="name">The op's name.</param>
    /// <param name="moves">Whether it moves or joins codes rather than cutting them off.</param>
    internal static Func<int, DeviceKernel?> Then(OdmlRun run, in OpCall call, string name, bool moves)
    {
        var kernels = new Dictionary<Tensor, DeviceKernel>(ReferenceEqualityComparer.Instance);
        if (!run.RoundsAsDevice || !(moves || Cuts.Contains(name)))
            return _ => null;
        bool joins = TensorTree.Leaves(call.Arguments).Count(t => t.is_floating_point()) > 1;
        DeviceKernel? Source(Tensor tensor)
        {
            if (!joins)
                return run.Tags[tensor]?.Kernel;
            // A tensor that another op has quantized before has those codes in the file, and is brought to the output's from there.
            var coded = moves ? Operand(run, run.Tags.FormOf(tensor)?.Value) : null;
            coded ??= run.Tags[tensor]?.Kernel is null ? Operand(run, tensor) : null;
            return coded is null ? run.Tags[tensor]?.Kernel : output => ElementwiseKernels.Requantize(coded, output);
        }

        if (TensorTree.Leaves(call.Arguments).All(t => Source(t) is null))
            return _ => null;
        var copy = call;
        bool inPlace = OpNaming.IsInPlace(call);
        // The model may free its tensors before the output's codes are known.
        object?[] arguments = Array.ConvertAll(call.Arguments, a => TensorTree.Map(a, tensor =>
        {
            var kept = run.Own(tensor.alias());
            if (Source(tensor) is { } kernel)
                kernels[kept] = kernel;
            return kept;
        }));
        return index => output =>
        {
            var values = Array.ConvertAll(arguments, a => TensorTree.Map(a, t => kernels.GetValueOrDefault(t)?.Invoke(output) ?? t));
            if (inPlace && ReferenceEquals(values[0], arguments[0]))
                return null;
            var result = run.Execute(copy, copy.Op, values);
            var picked = inPlace ? (Tensor)values[0]! : TensorTree.Leaves(result).ElementAt(index);
            return picked.is_floating_point() ? DeviceRounding.FakeQuantize(picked, output) : null;
        };
    }

    /// <summary>An operand with codes of one scale; it lives as long as the pass.</summary>
    internal static DeviceOperand? Operand(OdmlRun run, object? argument) =>
        argument is Tensor tensor && run.Tags[tensor]?.Codes is { Scale.Count: 1 } codes && codes.QType != QType.Int4 ? new(run.Own(tensor.alias()), codes) : null;

    /// <summary>A number, however it was passed.</summary>
    internal static double? Number(object? argument) => argument switch
    {
        Scalar scalar => scalar.ToDouble(),
        float or double or int or long => Convert.ToDouble(argument, System.Globalization.CultureInfo.InvariantCulture),
        _ => null,
    };
}
