using QwixSharp.Checkpoints;
using QwixSharp.Tool.Analysis;
using static TorchSharp.torch;

namespace QwixSharp.Tool.Reports;

/// <summary>What the report says of one tensor.</summary>
/// <param name="Error">How far the two are apart.</param>
/// <param name="Shape">The shape in values.</param>
/// <param name="Before">The values of the first.</param>
/// <param name="After">The values of the second, in the same bins.</param>
/// <param name="StoredBefore">How the first is stored.</param>
/// <param name="StoredAfter">How the second is stored.</param>
/// <param name="BytesBefore">The bytes of the first.</param>
/// <param name="BytesAfter">The bytes of the second.</param>
internal sealed record TensorReport(
    TensorError Error, IReadOnlyList<long> Shape, Histogram Before, Histogram After, string StoredBefore, string StoredAfter, long BytesBefore, long BytesAfter)
{
    private const int Bins = 96;

    /// <summary>Whether the values are the same.</summary>
    internal bool IsEqual => Error.SquareOfDifference == 0;

    /// <summary>Looks at two tensors.</summary>
    internal static TensorReport Of(LogicalTensor a, LogicalTensor b)
    {
        using var noGrad = no_grad();
        using var first = FloatValues.Read(a);
        using var second = FloatValues.Read(b);
        var error = TensorError.None(a.Name);
        float bound = 0;
        for (int i = 0; i < first.Blocks; i++)
        {
            error = error.Plus(TensorError.Between(a.Name, first.Block(i), second.Block(i)));
            bound = Math.Max(bound, LargestMagnitude(first.Block(i)));
        }

        if (!float.IsFinite(bound))
            bound = 1;
        var before = new Histogram(bound, Bins);
        var after = new Histogram(bound, Bins);
        for (int i = 0; i < first.Blocks; i++)
        {
            before.Add(first.Block(i));
            after.Add(second.Block(i));
        }

        return new(error, a.Shape, before, after, a.Description, b.Description, a.ByteLength, b.ByteLength);
    }

    private static float LargestMagnitude(ReadOnlySpan<float> values)
    {
        float largest = 0;
        foreach (float value in values)
            largest = Math.Max(largest, Math.Abs(value));
        return largest;
    }
}
