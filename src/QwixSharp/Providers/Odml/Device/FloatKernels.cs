using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using QwixSharp.Interception;
using QwixSharp.Numerics;
using QwixSharp.Providers.OpMap;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml.Device;

/// <summary>
/// What devices compute in floating point, between codes. The last bit of a sum decides now and then which of 65,536 codes a number gets, and
/// attention hands that on to all of a text; so sums are added up in XNNPACK's order. All else is rounded as IEEE 754 says, there as here.
/// </summary>
internal static class FloatKernels
{
    internal static DeviceKernel? LayerNorm(OdmlRun run, in OpCall call, DeviceOperand x)
    {
        if (Arguments.Named(call, "normalized_shape") is not long[] shape || DeviceKernels.Number(Arguments.Named(call, "eps")) is not { } epsilon)
            return null;
        Tensor? weight = Kept(run, Arguments.Named(call, "weight")), bias = Kept(run, Arguments.Named(call, "bias"));
        return output =>
        {
            using var scope = NewDisposeScope();
            var rows = x.Values.to(ScalarType.Float32).flatten(x.Values.dim() - shape.Length);
            float share = 1f / rows.shape[^1];
            var centred = rows - (RowSums(rows) * share);
            var variance = RowSums(centred * centred) * share;
            var normal = (centred * InverseRoots(variance + (float)epsilon)).reshape(x.Values.shape);
            var scaled = weight is null ? normal : normal * weight;
            return DeviceRounding.FakeQuantize(bias is null ? scaled : scaled + bias, output).MoveToOuterDisposeScope();
        };
    }

    /// <summary>int16's sums along an axis, for which LiteRT has no integer kernel.</summary>
    internal static DeviceKernel? Sum(in OpCall call, DeviceOperand x)
    {
        if (Arguments.Named(call, "dim", "dims", "dimensions") is not { } named || Axes(named) is not [var dim])
            return null;
        bool keeps = Arguments.Named(call, "keepdim") is true;
        return output =>
        {
            if (output.QType != QType.Int16)
                return null;
            using var scope = NewDisposeScope();
            var sums = Sums(x.Values.to(ScalarType.Float32), dim < 0 ? dim + x.Values.dim() : dim);
            return DeviceRounding.FakeQuantize(keeps ? sums : sums.squeeze(dim), output).MoveToOuterDisposeScope();
        };
    }

    /// <summary>x / max(‖x‖₂, ε).</summary>
    internal static DeviceKernel? Normalize(in OpCall call, DeviceOperand x)
    {
        if (DeviceKernels.Number(Arguments.Named(call, "p")) is not (null or 2) || DeviceKernels.Number(Arguments.Named(call, "dim")) is not { } dim || DeviceKernels.Number(Arguments.Named(call, "eps")) is not { } epsilon)
            return null;
        return output =>
        {
            using var scope = NewDisposeScope();
            var values = x.Values.to(ScalarType.Float32);
            var norms = Roots(Sums(values * values, dim < 0 ? (long)dim + values.dim() : (long)dim)).clamp_min((float)epsilon);
            return DeviceRounding.FakeQuantize(values / norms, output).MoveToOuterDisposeScope();
        };
    }

    /// <summary>Sums along an axis, which stays with a size of one: along any but the last, what lies behind it is added up element by element.</summary>
    private static Tensor Sums(Tensor values, long axis)
    {
        if (axis == values.dim() - 1)
            return RowSums(values);
        var sums = values.narrow(axis, 0, 1).clone();
        for (long i = 1; i < values.shape[axis]; i++)
            sums.add_(values.narrow(axis, i, 1));
        return sums;
    }

    /// <summary>Sums along the last axis, which stays with a size of one.</summary>
    internal static Tensor RowSums(Tensor values)
    {
        using var rows = values.cpu().contiguous();
        int length = (int)rows.shape[^1];
        var sums = empty([.. rows.shape[..^1], 1]);
        ReadOnlySpan<float> from = MemoryMarshal.Cast<byte, float>(rows.bytes);
        var to = MemoryMarshal.Cast<byte, float>(sums.bytes);
        for (int i = 0; i < to.Length; i++)
            to[i] = RowSum(from.Slice(i * length, length));
        return sums.to(values.device);
    }

    /// <summary>Four sums of four lanes take turns, and become one; then two numbers, if there are so many left, and the last.</summary>
    private static float RowSum(ReadOnlySpan<float> row)
    {
        Span<Vector128<float>> sums = stackalloc Vector128<float>[4];
        sums.Clear();
        int fours = row.Length / 4;
        for (int i = 0; i < fours; i++)
            sums[i % 4] += Vector128.Create(row.Slice(4 * i, 4));
        var lanes = (sums[0] + sums[2]) + (sums[1] + sums[3]);
        var pair = lanes.GetLower() + lanes.GetUpper();
        var rest = row[(4 * fours)..];
        if (rest.Length >= 2)
            pair += Vector64.Create(rest[..2]);
        float sum = pair[0] + pair[1];
        return rest.Length % 2 == 1 ? sum + rest[^1] : sum;
    }

    /// <summary>1/√x with a rounding for each step.</summary>
    private static Tensor InverseRoots(Tensor values) => Roots(values).to(ScalarType.Float64).reciprocal().to(ScalarType.Float32);

    /// <summary>Roots to the last bit, which libtorch's in single precision may lack.</summary>
    private static Tensor Roots(Tensor values) => values.to(ScalarType.Float64).sqrt().to(ScalarType.Float32);

    private static long[] Axes(object argument) => argument switch
    {
        long[] several => several,
        _ => DeviceKernels.Number(argument) is { } one ? [(long)one] : [],
    };

    private static Tensor? Kept(OdmlRun run, object? argument) => argument is Tensor tensor ? run.Own(tensor.detach()) : null;
}
