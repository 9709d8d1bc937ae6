using QwixSharp.Arrays;
using QwixSharp.Calibration;
using QwixSharp.Providers.Models;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>What every quantized model can do beyond a module.</summary>
/// <remarks>
/// A quantized model is an ordinary module around the user's, which it does not change: hooks, <c>train()</c>,
/// <c>eval()</c>, <c>to()</c>, <c>state_dict()</c>, <c>save</c> and <c>load</c> do what they do for any module. In place of a
/// quantized parameter its state has <c>name.qvalue</c>, <c>name.scale</c> and, where asymmetric, <c>name.zero_point</c>.
/// Disposing it frees the quantized weights and leaves the user's module as it is. Several threads may call it at once.
/// </remarks>
public interface IQuantizedModel
{
    /// <summary>The user's module.</summary>
    nn.Module Original { get; }

    /// <summary>The quantized weights by the paths of their parameters. They belong to the model.</summary>
    IReadOnlyDictionary<string, QArray> Weights { get; }

    /// <summary>
    /// The statistics that static scales are made of: those that training gathered, in a model for training and in one that
    /// was quantized from it. They belong to the model.
    /// </summary>
    QuantStats QuantStats { get; }

    /// <summary>
    /// Gives up the floating-point values of the parameters that are quantized, which frees their memory: the user's module
    /// keeps their shapes and dtypes, but its own results are not numbers from then on. Parameters that other ops need too
    /// are kept.
    /// </summary>
    void ReleaseOriginalWeights();

    /// <summary>Calls another public method of the user's module, quantized.</summary>
    /// <typeparam name="TValue">The type of its result.</typeparam>
    /// <param name="method">Its name.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <returns>Its result.</returns>
    /// <exception cref="QwixException">There is no such method, or it is async.</exception>
    TValue Invoke<TValue>(string method, params object?[] arguments);
}

/// <summary>For the entry points, which know the inputs of a module but not its class.</summary>
internal interface IHasCore
{
    QuantizedCore Core { get; }
}
