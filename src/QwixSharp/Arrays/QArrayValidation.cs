using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>Refuses QArrays whose parts do not fit each other.</summary>
internal static class QArrayValidation
{
    internal static void Check(QArray array)
    {
        var shape = array.Shape;
        var codeDtype = CodePacking.IsPacked(array.QType) ? ScalarType.Byte : Codec.CodeDtype(array.QType);
        if (array.Codes.dtype != codeDtype)
            throw new ArgumentException($"Codes of {array.QType} are stored as {codeDtype}, but these are {array.Codes.dtype}.");
        var packedShape = CodePacking.PackedShape(shape, array.QType);
        if (!array.Codes.shape.AsSpan().SequenceEqual(packedShape))
            throw new ArgumentException($"Codes of {array.QType} for an array of shape {HowToQuantize.Format(shape)} have the shape {HowToQuantize.Format(packedShape)}, but these have {HowToQuantize.Format(array.Codes.shape)}.");
        if (!Codec.IsQuantizable(array.Scale.dtype))
            throw new ArgumentException($"A scale is float16, bfloat16, float32 or float64, but this is {array.Scale.dtype}.");
        CheckBroadcast("scale", array.Scale, shape);
        if (array.ZeroPoint is null)
            return;
        CheckBroadcast("zero point", array.ZeroPoint, shape);
        if (!array.QType.SupportsAsymmetric)
            throw new ArgumentException($"{array.QType} cannot have a zero point: only int4, int8 and int16 can.");
        if (array.ZeroPoint.dtype != Codec.CodeDtype(array.QType))
            throw new ArgumentException($"A zero point of {array.QType} is {Codec.CodeDtype(array.QType)}, but this is {array.ZeroPoint.dtype}.");
    }

    private static void CheckBroadcast(string what, Tensor part, ReadOnlySpan<long> shape)
    {
        var partShape = part.shape;
        if (partShape.Length != shape.Length)
            throw new ArgumentException($"The {what}'s shape {HowToQuantize.Format(partShape)} must have the rank of the array's {HowToQuantize.Format(shape)}.");
        for (int axis = 0; axis < shape.Length; axis++)
        {
            if (partShape[axis] <= 0 ? shape[axis] != 0 : shape[axis] % partShape[axis] != 0)
                throw new ArgumentException($"The {what}'s shape {HowToQuantize.Format(partShape)} does not divide the array's {HowToQuantize.Format(shape)} on axis {axis}.");
        }
    }
}
