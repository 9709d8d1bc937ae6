using System.Runtime.CompilerServices;
using QwixSharp.LiteRT.Capture;
using QwixSharp.LiteRT.Graphs;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>A captured op that is being lowered: its arguments by position or name, and the tensors that they have become.</summary>
internal sealed class Node(CapturedNode captured, GraphBuilder builder, Func<CapturedTensor, View> find)
{
    internal GraphBuilder Builder => builder;

    internal string Op => captured.Op;

    internal string ModulePath => captured.ModulePath;

    /// <summary>Whether the model asked for its argument to be changed; here a new tensor stands for what it has become.</summary>
    internal bool IsInPlace => OpKinds.IsInPlace(captured.Method.Name) || Bool("inplace");

    internal int[] Shape => ShapeOf(captured.Results[0]);

    internal LiteRtType Type => ElementTypes.Of(captured.Results[0].Dtype, captured.Place);

    internal int Arguments => captured.Arguments.Length;

    internal int Results => captured.Results.Length;

    internal int[] ResultShape(int i) => ShapeOf(captured.Results[i]);

    internal object? Argument(int i) => i < captured.Arguments.Length ? captured.Arguments[i] : null;

    /// <summary>The argument for the first of some parameter names that the method has; null where it has none.</summary>
    internal object? Named(params ReadOnlySpan<string> names)
    {
        var parameters = captured.Method.GetParameters();
        int offset = captured.Method.IsStatic ? 0 : 1;
        foreach (var name in names)
        {
            int index = Array.FindIndex(parameters, p => p.Name == name);
            if (index >= 0)
                return captured.Arguments[index + offset];
        }

        return null;
    }

    internal View Input(int i) => Argument(i) is CapturedTensor tensor ? find(tensor) : throw Error($"its argument {i} is no tensor");

    internal View Find(object? argument) => find((CapturedTensor)argument!);

    internal View? Optional(params ReadOnlySpan<string> names) => Named(names) is CapturedTensor tensor ? find(tensor) : null;

    internal View[] Inputs(int i) => Argument(i) is CapturedTensor[] tensors ? Array.ConvertAll(tensors, t => find(t)) : throw Error($"its argument {i} is no list of tensors");

    /// <summary>An operand that is a tensor or a number.</summary>
    internal View Operand(int i, LiteRtType type) => Argument(i) switch
    {
        CapturedTensor tensor => builder.Cast(find(tensor), type),
        { } number when Number(number) is { } value => new View(GraphBuilder.Scalar(value, type)),
        var other => throw Error($"its argument {i}, {other ?? "null"}, is neither a tensor nor a number"),
    };

    internal double Double(double otherwise, params ReadOnlySpan<string> names) => Number(Named(names)) ?? otherwise;

    internal long Long(long otherwise, params ReadOnlySpan<string> names) => (long)(Number(Named(names)) ?? otherwise);

    internal bool Bool(params ReadOnlySpan<string> names) => Named(names) is true;

    internal long[]? Longs(params ReadOnlySpan<string> names) => ToLongs(Named(names));

    internal static long[]? ToLongs(object? argument) => argument switch
    {
        null => null,
        long[] numbers => numbers,
        int[] numbers => [.. numbers.Select(n => (long)n)],
        Size size => size.Shape,
        IEnumerable<long> numbers => [.. numbers],
        ITuple tuple => [.. Enumerable.Range(0, tuple.Length).Select(i => Convert.ToInt64(tuple[i]))],
        _ => Number(argument) is { } one ? [(long)one] : null,
    };

    /// <summary>A number for each of some axes, from an argument that is a number, a list or missing.</summary>
    internal int[] PerAxis(int axes, long otherwise, params ReadOnlySpan<string> names)
    {
        var numbers = Longs(names) is { Length: > 0 } given ? given : [otherwise];
        return numbers.Length == axes ? [.. numbers.Select(n => (int)n)] : [.. Enumerable.Repeat((int)numbers[0], axes)];
    }

    internal LiteRtException Error(string what) => new($"{captured.Place} cannot be exported: {what}.");

    internal static double? Number(object? argument) => argument switch
    {
        Scalar scalar => scalar.Type switch
        {
            ScalarType.Bool => scalar.ToBoolean() ? 1 : 0,
            ScalarType.Int64 => scalar.ToInt64(),
            _ => scalar.ToDouble(),
        },
        bool truth => truth ? 1 : 0,
        byte or sbyte or short or int or long or float or double => Convert.ToDouble(argument),
        _ => null,
    };

    private static int[] ShapeOf(CapturedTensor tensor) => [.. tensor.Shape.Select(s => checked((int)s))];
}
