using System.Reflection;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Capture;

/// <summary>What an index of <c>tensor[...]</c> is made of; TorchSharp keeps it to itself.</summary>
internal static class IndexParts
{
    private static readonly FieldInfo Kind = Field("kind"), First = Field("startIndexOrBoolOrSingle"), Last = Field("stopIndex"), Step = Field("step"), Inner = Field("tensor");

    /// <summary>The tensor of an index that is one; else null.</summary>
    internal static Tensor? TensorOf(TensorIndex index) => (Tensor?)Inner.GetValue(index);

    /// <summary>The kind of an index, by its name in TorchSharp: Single, Null, Ellipsis, Bool, Tensor, Slice, None.</summary>
    internal static string KindOf(TensorIndex index) => Kind.GetValue(index)!.ToString()!;

    internal static long Single(TensorIndex index) => (long)First.GetValue(index)!;

    internal static (long? Start, long? Stop, long? Step) Slice(TensorIndex index) => ((long?)First.GetValue(index), (long?)Last.GetValue(index), (long?)Step.GetValue(index));

    private static FieldInfo Field(string name) =>
        typeof(TensorIndex).GetField(name, BindingFlags.NonPublic | BindingFlags.Instance) ?? throw new MissingFieldException(nameof(TensorIndex), name);
}
