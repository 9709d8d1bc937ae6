using QwixSharp.Arrays;
using QwixSharp.Kernels.Convolutions;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>Convolutions of codes over one or two spatial axes on the CPU with the library's own kernel.</summary>
internal static class KernelConvolution
{
    /// <summary>
    /// Below this many output features a group, the kernel's panels are mostly empty and libtorch's float32 convolution of
    /// codes is faster.
    /// </summary>
    private const long FewestFeaturesPerGroup = 8;

    /// <summary>
    /// With fewer values in a window, gathering them costs more than multiplying them, and libtorch's float32 convolution of
    /// codes is faster.
    /// </summary>
    private const long ShortestWindow = 9;

    /// <summary>The convolution in canonical layout where the kernel can do it.</summary>
    /// <returns>(N, O, spatial) in float32, or null.</returns>
    internal static Tensor? TryCompute(QArray lhs, QArray rhs, ConvAxes axes, ConvGeometry geometry, ScalarType resultDtype) =>
        CanServe(lhs, rhs, axes, geometry, resultDtype) ? Compute(lhs, rhs, axes, geometry) : null;

    private static bool CanServe(QArray lhs, QArray rhs, ConvAxes axes, ConvGeometry geometry, ScalarType resultDtype) =>
        axes.SpatialRank is 1 or 2
        && lhs.Device.type == DeviceType.CPU
        && IsByteInteger(lhs) && IsByteInteger(rhs) && rhs.ZeroPoint is null
        && lhs.Dtype == ScalarType.Float32 && rhs.Dtype == ScalarType.Float32 && resultDtype == ScalarType.Float32
        && geometry.BatchGroups == 1
        && (IsDepthwise(geometry) || HasEnoughWork(geometry))
        && geometry.LhsDilation.All(d => d == 1)
        && geometry.Padding.All(p => p is { Low: >= 0, High: >= 0 })
        && axes.Rhs.Select((axis, i) => axis == i).All(same => same);

    private static bool HasEnoughWork(ConvGeometry geometry) =>
        HasEnoughWork(geometry.OutputFeatures / geometry.FeatureGroups, geometry.FeaturesPerGroup * geometry.Window);

    /// <summary>Whether the kernels are faster than libtorch, which they always are where its float32 convolutions do not serve.</summary>
    /// <param name="features">The output features of a group.</param>
    /// <param name="window">The values of a window.</param>
    internal static bool HasEnoughWork(long features, long window) =>
        (features >= FewestFeaturesPerGroup && window >= ShortestWindow) || !LibtorchConvolution.AddsUpPlainly(CPU);

    private static bool IsDepthwise(ConvGeometry geometry) => geometry.FeaturesPerGroup == 1 && geometry.OutputFeatures == geometry.FeatureGroups;

    internal static bool IsByteInteger(QArray array) => array.QType is { Kind: QTypeKind.Integer, Bits: <= 8 };

    private static Tensor Compute(QArray lhs, QArray rhs, ConvAxes axes, ConvGeometry geometry)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        // A one-dimensional convolution is one over images of height 1.
        bool flat = axes.SpatialRank == 1;
        var codes = lhs.GetQValue().permute(axes.Lhs);
        using var channelsLast = codes.movedim([1], [-1]);
        bool isChannelsLast = channelsLast.is_contiguous();
        codes = isChannelsLast ? codes : codes.contiguous();
        long[] shape = codes.shape;
        long batch = shape[0];
        int channels = (int)shape[1], height = flat ? 1 : (int)shape[2], width = (int)shape[^1];
        int threads = get_num_threads();
        var scales = GenericBroadcast.Expand(lhs.Scale.reshape(-1), [batch]);
        var zeroPoints = lhs.ZeroPoint is null ? null : GenericBroadcast.Expand(lhs.ZeroPoint.reshape(-1), [batch]).to(ScalarType.Int32);
        var form = rhs.KernelForm(() => new PackedConvolutionForm(rhs));
        var kernel = form.For(Shape(rhs, geometry, flat));
        var y = empty(geometry.ResultShape, dtype: ScalarType.Float32);

        new ImageBatch
        {
            Codes = TensorMemory.Address(codes),
            IsChannelsLast = isChannelsLast,
            Count = batch,
            Channels = channels,
            Height = height,
            Width = width,
            Scales = TensorMemory.Address(scales),
            ZeroPoints = zeroPoints is null ? 0 : TensorMemory.Address(zeroPoints),
            Kernel = kernel,
            Result = TensorMemory.Address(y),
            ResultSize = batch == 0 ? 0 : y.numel() / batch,
        }.Run((long)threads);
        return y.MoveToOuterDisposeScope();
    }

    private static ConvolutionShape Shape(QArray rhs, ConvGeometry geometry, bool flat)
    {
        var shape = rhs.Shape;
        int x = flat ? 0 : 1;
        var (low, high) = geometry.Padding[x];
        return new ConvolutionShape
        {
            // The image's own sizes come with each image; these only have to be large enough for the kernel.
            Height = int.MaxValue / 4,
            Width = int.MaxValue / 4,
            Channels = (int)geometry.FeaturesPerGroup * geometry.FeatureGroups,
            OutChannels = (int)geometry.OutputFeatures,
            KernelHeight = flat ? 1 : (int)shape[2],
            KernelWidth = (int)shape[^1],
            StrideY = flat ? 1 : (int)geometry.Strides[0],
            StrideX = (int)geometry.Strides[x],
            PadTop = flat ? 0 : (int)geometry.Padding[0].Low,
            PadBottom = flat ? 0 : (int)geometry.Padding[0].High,
            PadLeft = (int)low,
            PadRight = (int)high,
            DilationY = flat ? 1 : (int)geometry.RhsDilation[0],
            DilationX = (int)geometry.RhsDilation[x],
            Groups = geometry.FeatureGroups,
        };
    }
}
