using QwixSharp.Interception;
using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;
using QwixSharp.Ops.Images;
using QwixSharp.Providers.Models;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>A deferred convolution: its layer and how its input is quantized; without a static scale, by the magnitude of each image.</summary>
internal sealed record ConvolutionPayload(ConvolutionLayer Layer, StaticScale? Scale, CodeForm Form, Tensor? Bias);

/// <summary>A deferred batch norm.</summary>
internal sealed record NormPayload(Tensor Mean, Tensor Variance, Tensor? Weight, Tensor? Bias, double Epsilon);

/// <summary>Decides which ops on images are deferred: convolutions of codes, and what follows them.</summary>
internal sealed class ImageOps(ModelState state)
{
    /// <summary>Whether an op is deferred, and what it means.</summary>
    internal bool Agrees(DeferrableOp op, in CallArguments arguments, long[] input, InterceptionScope scope, ref DeferredCall call) => op.Kind switch
    {
        OpKind.Convolution => Convolution(arguments, input, scope, ref call),
        OpKind.BatchNorm => FollowsConvolution(arguments, input) && Norm(arguments, input, ref call),
        OpKind.MaxPool => FollowsConvolution(arguments, input) && MaxPool(arguments, input, ref call),
        OpKind.AveragePool => FollowsConvolution(arguments, input) && AveragePool(arguments, input, ref call),
        _ => false,
    };

    /// <summary>What comes after a convolution has no value yet.</summary>
    private static bool FollowsConvolution(in CallArguments arguments, long[] input) => input.Length == 4 && TensorInternals.Handle(arguments.Tensor(0)!) == 0;

    private bool Convolution(in CallArguments arguments, long[] input, InterceptionScope scope, ref DeferredCall call)
    {
        if (arguments[1] is not Tensor weight || scope.Interceptor is not ModelRun run || state.RememberedConvolution(weight, scope.Path) is not { } known)
            return false;
        var layer = known.Layer;
        if (!layer.Moves((long[]?)arguments[3], (long[]?)arguments[4], (long[]?)arguments[5], arguments.Integer(6)) || layer.ResultShape(input) is not { } shape)
            return false;
        var scale = known.Place is null ? null : state.StaticScales.Find(known.Place);
        if (FormOf(layer, known.Place is null, scale) is not { } form)
            return false;
        var bias = (Tensor?)arguments[2];
        if (!IsPlainVectorOrNull(bias, shape[1]))
            return false;
        if (!run.TryCount(scope.Path, OpNames.ConvGeneralDilated, known.Count))
            return false;
        call.Operands.Add(bias);
        (call.Shape, call.IsContiguous, call.Payload) = (shape, true, new ConvolutionPayload(layer, scale, form, bias));
        return true;
    }

    /// <summary>How images become codes of a layer, or null where the general way alone knows.</summary>
    private static CodeForm? FormOf(ConvolutionLayer layer, bool isDynamic, StaticScale? scale)
    {
        if (isDynamic)
            return CodeForm.OfEachImage(layer.QType);
        if (scale?.QType != layer.QType || scale.Numbers is not { } numbers || !(numbers.Scale > 0) || !float.IsFinite(numbers.Scale))
            return null;
        return CodeForm.Of(numbers.Scale, numbers.ZeroPoint, layer.QType);
    }

    private static bool Norm(in CallArguments arguments, long[] input, ref DeferredCall call)
    {
        if (arguments.Integer(5) != 0 || arguments[1] is not Tensor mean || arguments[2] is not Tensor variance)
            return false;
        var (weight, bias) = ((Tensor?)arguments[3], (Tensor?)arguments[4]);
        if (!IsPlainVector(mean, input[1]) || !IsPlainVector(variance, input[1]) || !IsPlainVectorOrNull(weight, input[1]) || !IsPlainVectorOrNull(bias, input[1]))
            return false;
        call.Operands.Add(mean, variance, weight, bias);
        (call.Shape, call.IsContiguous, call.Payload) = (input, true, new NormPayload(mean, variance, weight, bias, arguments.Real(7)));
        return true;
    }

    private static bool MaxPool(in CallArguments arguments, long[] input, ref DeferredCall call)
    {
        long[] size = Pair(arguments[1], null), strides = Pair(arguments[2], size), padding = Pair(arguments[3], [0, 0]), dilation = Pair(arguments[4], [1, 1]);
        if (arguments.Integer(5) != 0 || dilation is not [1, 1] || size is not [> 0, > 0] || strides is not [> 0, > 0])
            return false;
        long[] shape = [input[0], input[1], 0, 0];
        for (int axis = 0; axis < 2; axis++)
        {
            long room = input[axis + 2] + (2 * padding[axis]) - size[axis];
            if (padding[axis] < 0 || padding[axis] > size[axis] / 2 || room < 0)
                return false;
            shape[axis + 2] = (room / strides[axis]) + 1;
        }

        (call.Shape, call.IsContiguous, call.Payload) = (shape, true, new ImagePool(size, strides, padding));
        return true;
    }

    private static bool AveragePool(in CallArguments arguments, long[] input, ref DeferredCall call)
    {
        var givesOnePixel = arguments[1] switch
        {
            long[] size => size.Length > 0 && size.All(s => s == 1),
            (long height, long width) => height == 1 && width == 1,
            _ => arguments.Integer(1) == 1,
        };
        if (!givesOnePixel)
            return false;
        (call.Shape, call.IsContiguous) = ([input[0], input[1], 1, 1], true);
        return true;
    }

    private static long[] Pair(object? numbers, long[]? otherwise) => numbers switch
    {
        long[] { Length: 1 } one => [one[0], one[0]],
        long[] { Length: 2 } two => two,
        _ => otherwise ?? [0, 0],
    };

    private static bool IsPlainVectorOrNull(Tensor? tensor, long length) => tensor is null || IsPlainVector(tensor, length);

    /// <summary>Whether a parameter lies in memory as a vector of float32.</summary>
    private static bool IsPlainVector(Tensor tensor, long length)
    {
        var handle = TensorInternals.Handle(tensor);
        return handle != 0 && tensor.dtype == ScalarType.Float32 && tensor.device_type == DeviceType.CPU && tensor.is_contiguous() && tensor.numel() == length
            && !(is_grad_enabled() && tensor.requires_grad);
    }
}
