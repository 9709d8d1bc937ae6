using System.Reflection;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>The ops that bring each value between two numbers, in all of TorchSharp's spellings.</summary>
/// <remarks>
/// <c>hardtanh</c> is none of them: TorchSharp returns its input as it is, unless it is asked to work in place.
/// </remarks>
internal static class ClampReaders
{
    /// <summary>Whether it is the name of such an op that works in place, and without its last letter of one that does not.</summary>
    internal static bool IsInPlace(string name) => name is "relu_" or "relu6_" or "clamp_" or "clamp_min_" or "clamp_max_";

    /// <summary>The reader of a method, or null where it is no such op.</summary>
    /// <param name="name">The method's name.</param>
    /// <param name="parameters">The types of its arguments, the instance first.</param>
    internal static CallReader? For(string name, Type[] parameters) => name switch
    {
        "relu" when AreFlags(parameters) => Between(0, double.PositiveInfinity),
        "relu6" when AreFlags(parameters) => Between(0, 6),
        "clamp" or "clip" when CallReaders.Fits(parameters, typeof(Tensor), typeof(Scalar), typeof(Scalar)) => TwoBounds,
        "clamp_min" when CallReaders.Fits(parameters, typeof(Tensor), typeof(Scalar)) => LowerBound,
        "clamp_max" when CallReaders.Fits(parameters, typeof(Tensor), typeof(Scalar)) => UpperBound,
        "hardtanh_" when CallReaders.Fits(parameters, typeof(Tensor), typeof(Scalar), typeof(Scalar)) => HardTanhInPlace,
        "hardtanh" when CallReaders.Fits(parameters, typeof(Tensor), typeof(double), typeof(double), typeof(bool)) => HardTanh,
        _ => null,
    };

    /// <summary>What computes the result of an op in place as a tensor of its own, where it is not the method without the last letter.</summary>
    internal static MethodInfo? PlainOf(string name) => name is "hardtanh" or "hardtanh_" ? typeof(Tensor).GetMethod(nameof(Tensor.clamp), [typeof(Scalar), typeof(Scalar)]) : null;

    private static bool AreFlags(Type[] parameters) => parameters[0] == typeof(Tensor) && parameters.Skip(1).All(p => p == typeof(bool));

    private static CallReader Between(double lower, double upper) => (DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call) =>
        Bound(ref call, lower, upper) && CallReaders.InPlaceFlag(graph, ref arguments, ref call);

    private static bool TwoBounds(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call) =>
        (arguments[1] is not null || arguments[2] is not null)
        && Bound(ref call, BoundAt(arguments, 1, double.NegativeInfinity), BoundAt(arguments, 2, double.PositiveInfinity)) && CallReaders.One(graph, ref arguments, ref call);

    private static bool LowerBound(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call) =>
        Bound(ref call, CallReaders.Number(arguments, 1, typeof(Scalar)), double.PositiveInfinity) && CallReaders.One(graph, ref arguments, ref call);

    private static bool UpperBound(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call) =>
        Bound(ref call, double.NegativeInfinity, CallReaders.Number(arguments, 1, typeof(Scalar))) && CallReaders.One(graph, ref arguments, ref call);

    private static bool HardTanhInPlace(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        call.Overwrites = true;
        return TwoBounds(graph, ref arguments, ref call);
    }

    private static bool HardTanh(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        if (arguments.Integer(3) == 0) return false;
        // The op in place, as clamp does it, and an alias of what it was done to.
        call.Overwrites = call.IsAliased = true;
        var (tensor, lower, upper) = (arguments.Tensor(0), arguments.Real(1), arguments.Real(2));
        arguments = default;
        arguments.Set(0, tensor);
        arguments.Set(1, (Scalar)lower);
        arguments.Set(2, (Scalar)upper);
        return Bound(ref call, lower, upper) && CallReaders.One(graph, ref arguments, ref call);
    }

    private static double BoundAt(in CallArguments arguments, int place, double otherwise) => arguments[place] is null ? otherwise : CallReaders.Number(arguments, place, typeof(Scalar));

    /// <summary>Not for bounds that are no numbers: everything is NaN then.</summary>
    private static bool Bound(ref DeferredCall call, double lower, double upper)
    {
        (call.Number, call.UpperBound) = (lower, upper);
        return !double.IsNaN(lower) && !double.IsNaN(upper);
    }
}
