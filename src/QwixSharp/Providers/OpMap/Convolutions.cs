using QwixSharp.Interception;
using QwixSharp.Providers.Models;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.OpMap;

/// <summary>Convolutions of one to three dimensions, plain and transposed.</summary>
internal static class Convolutions
{
    internal static readonly Dictionary<string, OpHandler> Handlers = new()
    {
        ["conv1d"] = (ModelRun run, in OpCall call) => Convolve(run, call, 1),
        ["conv2d"] = (ModelRun run, in OpCall call) => Convolve(run, call, 2),
        ["conv3d"] = (ModelRun run, in OpCall call) => Convolve(run, call, 3),
        ["conv1d_padding"] = (ModelRun run, in OpCall call) => Convolve(run, call, 1),
        ["conv2d_padding"] = (ModelRun run, in OpCall call) => Convolve(run, call, 2),
        ["conv3d_padding"] = (ModelRun run, in OpCall call) => Convolve(run, call, 3),
        ["conv_transpose1d"] = (ModelRun run, in OpCall call) => Convolve(run, call, 1),
        ["conv_transpose2d"] = (ModelRun run, in OpCall call) => Convolve(run, call, 2),
        ["conv_transpose3d"] = (ModelRun run, in OpCall call) => Convolve(run, call, 3),
    };

    private static object? Convolve(ModelRun run, in OpCall call, int axes)
    {
        if (run.Find(call, OpNames.ConvGeneralDilated) is not { } found)
            return run.Proceed(call);
        using var scope = NewDisposeScope();
        Tensor input = Arguments.Tensor(call, 0), weight = Arguments.Tensor(call, 1);
        bool unbatched = input.dim() == axes + 1;
        var convolution = Read(call, axes, weight);
        var product = found.Provider.Convolution(found.Site, run.State.Operand(unbatched ? input.unsqueeze(0) : input), run.State.Operand(weight), convolution);
        product = Arguments.AddBias(product, (Tensor?)call.Arguments[2], found.Provider.CanWriteOverProducts, featureAxis: 1);
        return (unbatched ? product.squeeze(0) : product).MoveToOuterDisposeScope();
    }

    private static ConvolutionCall Read(in OpCall call, int axes, Tensor weight)
    {
        long[] strides = Arguments.PerAxis(Arguments.Named(call, "stride", "strides"), axes, 1);
        long[] dilation = Arguments.PerAxis(Arguments.Named(call, "dilation"), axes, 1);
        var padding = Arguments.Named(call, "padding");
        bool transposed = call.Op.Method.Name.Contains("transpose");
        IReadOnlyList<(long, long)> pairs = padding is Padding kind
            ? [.. Enumerable.Range(0, axes).Select(i => Same(kind, dilation[i] * (weight.shape[i + 2] - 1)))]
            : [.. Arguments.PerAxis(padding, axes, 0).Select(p => (p, p))];
        long[] outputPadding = Arguments.PerAxis(Arguments.Named(call, "output_padding"), axes, 0);
        return new ConvolutionCall(strides, pairs, dilation, (long)Arguments.Named(call, "groups")!, transposed, outputPadding);
    }

    /// <summary>Padding that keeps the length: an odd element goes behind, as in libtorch.</summary>
    private static (long Low, long High) Same(Padding kind, long total) => kind == Padding.Same ? (total / 2, total - (total / 2)) : (0, 0);
}
