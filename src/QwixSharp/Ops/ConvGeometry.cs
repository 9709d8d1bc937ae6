using QwixSharp.Arrays;
using static TorchSharp.torch;
using static TorchSharp.torch.nn.functional;

namespace QwixSharp.Ops;

/// <summary>
/// All numbers of a convolution in the canonical layout (N, C, spatial) and (O, I, spatial), checked; and the two steps
/// that turn it into one of PyTorch's: <see cref="Prepare"/> the input, then <see cref="Convolve"/>.
/// </summary>
internal sealed class ConvGeometry
{
    private readonly long[] _windows;
    private readonly long[] _resultLengths;

    internal ConvGeometry(
        long[] lhsShape,
        long[] rhsShape,
        IReadOnlyList<long> strides,
        ConvPadding padding,
        IReadOnlyList<long>? lhsDilation,
        IReadOnlyList<long>? rhsDilation,
        int featureGroups,
        int batchGroups)
    {
        int spatial = lhsShape.Length - 2;
        Strides = Check("window stride", strides, spatial);
        LhsDilation = Check("lhs dilation", lhsDilation, spatial);
        RhsDilation = Check("rhs dilation", rhsDilation, spatial);
        (FeatureGroups, BatchGroups) = (featureGroups, batchGroups);
        CheckGroups(lhsShape, rhsShape);
        _windows = [.. rhsShape[2..].Select((length, i) => Dilated(length, RhsDilation[i]))];
        Padding = padding.Resolve(lhsShape[2..], _windows, Strides, LhsDilation);
        _resultLengths = [.. lhsShape[2..].Select((length, i) => ResultLength(Dilated(length, LhsDilation[i]) + Padding[i].Low + Padding[i].High, _windows[i], Strides[i]))];
        OutputFeatures = rhsShape[0];
        Window = rhsShape[2..].Aggregate(1L, (a, b) => a * b);
        FeaturesPerGroup = rhsShape[1];
        ResultBatch = lhsShape[0] / batchGroups;
    }

    /// <summary>The stride along each spatial axis.</summary>
    internal long[] Strides { get; }

    /// <summary>The padding of each spatial axis, after the input is dilated; negative numbers cut.</summary>
    internal (long Low, long High)[] Padding { get; }

    /// <summary>How far apart the values of the input are set.</summary>
    internal long[] LhsDilation { get; }

    /// <summary>How far apart the values of the kernel are set.</summary>
    internal long[] RhsDilation { get; }

    /// <summary>The groups of features.</summary>
    internal int FeatureGroups { get; }

    /// <summary>The groups of the batch.</summary>
    internal int BatchGroups { get; }

    /// <summary>The groups of PyTorch's convolution: batch groups become feature groups in <see cref="Prepare"/>.</summary>
    internal int Groups => FeatureGroups * BatchGroups;

    /// <summary>The features of the result.</summary>
    internal long OutputFeatures { get; }

    /// <summary>The number of values in the window of the kernel.</summary>
    internal long Window { get; }

    /// <summary>The input features that an output feature sees.</summary>
    internal long FeaturesPerGroup { get; }

    /// <summary>The batch of the result.</summary>
    internal long ResultBatch { get; }

    /// <summary>Whether the result holds nothing, since the window does not fit.</summary>
    internal bool IsEmpty => _resultLengths.Contains(0) || ResultBatch == 0 || OutputFeatures == 0;

    /// <summary>The shape of the result: (N, O, spatial).</summary>
    internal long[] ResultShape => [ResultBatch, OutputFeatures, .. _resultLengths];

    /// <summary>The input as PyTorch's convolution takes it: batch groups beside the features, dilated and padded with zeros.</summary>
    /// <param name="x">(N, C, spatial).</param>
    internal Tensor Prepare(Tensor x)
    {
        using var scope = NewDisposeScope();
        var result = x.alias();
        if (BatchGroups > 1)
        {
            result = result.reshape([BatchGroups, ResultBatch, .. x.shape[1..]]).transpose(0, 1);
            result = result.reshape([ResultBatch, BatchGroups * x.shape[1], .. x.shape[2..]]);
        }

        if (IsTransposed)
            return result.MoveToOuterDisposeScope();
        for (int i = 0; i < LhsDilation.Length; i++)
            result = Dilate(result, i + 2, LhsDilation[i]);
        if (!HasPlainPadding)
        {
            long[] pads = [.. Enumerable.Reverse(Padding).SelectMany(p => new[] { p.Low, p.High })];
            result = pad(result, pads);
        }

        return result.MoveToOuterDisposeScope();
    }

    /// <summary>The convolution of a prepared input.</summary>
    /// <param name="x">The prepared input; perhaps a part of its features, where there is one group.</param>
    /// <param name="w">(O, I, spatial).</param>
    /// <returns>(N, O, spatial).</returns>
    internal Tensor Convolve(Tensor x, Tensor w)
    {
        if (IsTransposed)
            return ConvolveTransposed(x, w);
        long[] padding = [.. Padding.Select(p => HasPlainPadding ? p.Low : 0)];
        switch (Strides.Length)
        {
            case 0:
                using (var scope = NewDisposeScope())
                    return conv1d(x.unsqueeze(-1), w.unsqueeze(-1), groups: Groups).squeeze(-1).MoveToOuterDisposeScope();
            case 1:
                return conv1d(x, w, null, Strides[0], padding[0], RhsDilation[0], Groups);
            case 2:
                return conv2d(x, w, null, Strides, padding, RhsDilation, Groups);
            default:
                return conv3d(x, w, null, Strides, padding, RhsDilation, Groups);
        }
    }

    /// <summary>
    /// Whether this is one of PyTorch's transposed convolutions, which need not multiply the zeros between the values of
    /// a dilated input.
    /// </summary>
    private bool IsTransposed => LhsDilation.Any(d => d > 1) && Strides.All(s => s == 1)
        && Enumerable.Range(0, Strides.Length).All(i => TransposedPadding(i) >= 0 && ExtraPadding(i) >= 0 && ExtraPadding(i) < Math.Max(LhsDilation[i], RhsDilation[i]));

    private Tensor ConvolveTransposed(Tensor x, Tensor w)
    {
        using var scope = NewDisposeScope();
        long[] spatial = [.. Enumerable.Range(2, Strides.Length).Select(i => (long)i)], shape = w.shape;
        // (O, I, spatial) to (features of all groups, output features of one group, spatial), and backwards in space.
        var kernel = w.flip(spatial).reshape([Groups, OutputFeatures / Groups, .. shape[1..]]).transpose(1, 2).reshape([Groups * shape[1], OutputFeatures / Groups, .. shape[2..]]);
        long[] padding = [.. Strides.Select((_, i) => TransposedPadding(i))], extra = [.. Strides.Select((_, i) => ExtraPadding(i))];
        var result = Strides.Length switch
        {
            1 => conv_transpose1d(x, kernel, null, LhsDilation[0], padding[0], extra[0], RhsDilation[0], Groups),
            2 => conv_transpose2d(x, kernel, null, LhsDilation, padding, extra, RhsDilation, Groups),
            _ => conv_transpose3d(x, kernel, null, LhsDilation, padding, extra, RhsDilation, Groups),
        };
        return result.MoveToOuterDisposeScope();
    }

    private long TransposedPadding(int axis) => _windows[axis] - 1 - Padding[axis].Low;

    private long ExtraPadding(int axis) => Padding[axis].High - Padding[axis].Low;

    /// <summary>Whether PyTorch's convolution can pad by itself: as much on both sides, and not less than nothing.</summary>
    private bool HasPlainPadding => Padding.All(p => p.Low == p.High && p.Low >= 0);

    private static Tensor Dilate(Tensor x, int axis, long dilation)
    {
        if (dilation == 1 || x.shape[axis] == 0)
            return x;
        long length = x.shape[axis];
        var spread = x.movedim([axis], [-1]).unsqueeze(-1);
        spread = pad(spread, [0, dilation - 1]).flatten(-2).narrow(-1, 0, Dilated(length, dilation));
        return spread.movedim([-1], [axis]);
    }

    private static long Dilated(long length, long dilation) => length == 0 ? 0 : ((length - 1) * dilation) + 1;

    private static long ResultLength(long padded, long window, long stride) => padded < window ? 0 : ((padded - window) / stride) + 1;

    private static long[] Check(string what, IReadOnlyList<long>? values, int spatial)
    {
        if (values is null)
            return [.. Enumerable.Repeat(1L, spatial)];
        if (values.Count != spatial || values.Any(v => v < 1))
            throw new ArgumentException($"A convolution with {spatial} spatial axes needs a {what} of at least 1 for each, but got [{string.Join(", ", values)}].");
        return [.. values];
    }

    private void CheckGroups(long[] lhsShape, long[] rhsShape)
    {
        string shapes = $"lhs (N, C, spatial) {HowToQuantize.Format(lhsShape)}, rhs (O, I, spatial) {HowToQuantize.Format(rhsShape)}";
        if (FeatureGroups < 1 || BatchGroups < 1 || (FeatureGroups > 1 && BatchGroups > 1))
            throw new ArgumentException($"Group counts are at least 1 and only one of them can be above it: got {FeatureGroups} feature groups and {BatchGroups} batch groups.");
        if (lhsShape[1] != rhsShape[1] * FeatureGroups)
            throw new ArgumentException($"The input features of rhs times {FeatureGroups} feature groups are not the features of lhs: {shapes}.");
        if (rhsShape[0] % Groups != 0 || lhsShape[0] % BatchGroups != 0)
            throw new ArgumentException($"{FeatureGroups} feature groups and {BatchGroups} batch groups do not divide the output features or the batch: {shapes}.");
    }
}
