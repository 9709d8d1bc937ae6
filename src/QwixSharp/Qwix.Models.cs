using QwixSharp.Calibration;
using QwixSharp.Providers;
using QwixSharp.Providers.Models;
using static TorchSharp.torch;

namespace QwixSharp;

/// <content>Quantizing models.</content>
public static partial class Qwix
{
    /// <summary>
    /// Quantizes a model: runs it once on the input, in evaluation mode and without gradients, and quantizes the weights of
    /// the ops that the provider's rules match. The model is not changed.
    /// </summary>
    /// <typeparam name="T">The type of the input.</typeparam>
    /// <typeparam name="TResult">The type of the result.</typeparam>
    /// <param name="model">Any module, of any code. On the meta device it gives an abstract quantized model, for <see cref="QuantizeParams"/>.</param>
    /// <param name="provider">The mode and its rules.</param>
    /// <param name="input">An input such as the model will have.</param>
    /// <param name="methods">Other public methods of the model that will be called, by <see cref="IQuantizedModel.Invoke"/>; checked to exist.</param>
    /// <returns>A module around the model; see <see cref="IQuantizedModel"/>. The caller owns it.</returns>
    /// <exception cref="QwixSharp.Rules.RuleException">No rule matches any op.</exception>
    /// <exception cref="QwixException">A weight cannot be quantized as its rule says; the message names it.</exception>
    /// <exception cref="QwixSharp.Interception.InterceptionException">The provider is strict, and not all code of the model can be seen.</exception>
    public static QuantizedModule<T, TResult> QuantizeModel<T, TResult>(nn.Module<T, TResult> model, ModelProvider provider, T input, params string[] methods) =>
        ModelQuantizer.Quantize(model, provider, methods, s => new QuantizedModule<T, TResult>(s), q => q.forward(ModelQuantizer.ToModelDevice(model, input)));

    /// <summary>Quantizes a model of two inputs; see <see cref="QuantizeModel{T, TResult}"/>.</summary>
    /// <typeparam name="T1">The type of input 1.</typeparam>
    /// <typeparam name="T2">The type of input 2.</typeparam>
    /// <typeparam name="TResult">The type of the result.</typeparam>
    /// <param name="model">Any module.</param>
    /// <param name="provider">The mode and its rules.</param>
    /// <param name="input1">Input 1, such as the model will have.</param>
    /// <param name="input2">Input 2, such as the model will have.</param>
    /// <param name="methods">Other public methods of the model that will be called.</param>
    /// <returns>A module around the model. The caller owns it.</returns>
    public static QuantizedModule<T1, T2, TResult> QuantizeModel<T1, T2, TResult>(nn.Module<T1, T2, TResult> model, ModelProvider provider, T1 input1, T2 input2, params string[] methods) =>
        ModelQuantizer.Quantize(model, provider, methods, s => new QuantizedModule<T1, T2, TResult>(s), q => q.forward(ModelQuantizer.ToModelDevice(model, input1), ModelQuantizer.ToModelDevice(model, input2)));

    /// <summary>Quantizes a model of three inputs; see <see cref="QuantizeModel{T, TResult}"/>.</summary>
    /// <typeparam name="T1">The type of input 1.</typeparam>
    /// <typeparam name="T2">The type of input 2.</typeparam>
    /// <typeparam name="T3">The type of input 3.</typeparam>
    /// <typeparam name="TResult">The type of the result.</typeparam>
    /// <param name="model">Any module.</param>
    /// <param name="provider">The mode and its rules.</param>
    /// <param name="input1">Input 1, such as the model will have.</param>
    /// <param name="input2">Input 2, such as the model will have.</param>
    /// <param name="input3">Input 3, such as the model will have.</param>
    /// <param name="methods">Other public methods of the model that will be called.</param>
    /// <returns>A module around the model. The caller owns it.</returns>
    public static QuantizedModule<T1, T2, T3, TResult> QuantizeModel<T1, T2, T3, TResult>(nn.Module<T1, T2, T3, TResult> model, ModelProvider provider, T1 input1, T2 input2, T3 input3, params string[] methods) =>
        ModelQuantizer.Quantize(model, provider, methods, s => new QuantizedModule<T1, T2, T3, TResult>(s), q => q.forward(ModelQuantizer.ToModelDevice(model, input1), ModelQuantizer.ToModelDevice(model, input2), ModelQuantizer.ToModelDevice(model, input3)));

    /// <summary>Quantizes a model of four inputs; see <see cref="QuantizeModel{T, TResult}"/>.</summary>
    /// <typeparam name="T1">The type of input 1.</typeparam>
    /// <typeparam name="T2">The type of input 2.</typeparam>
    /// <typeparam name="T3">The type of input 3.</typeparam>
    /// <typeparam name="T4">The type of input 4.</typeparam>
    /// <typeparam name="TResult">The type of the result.</typeparam>
    /// <param name="model">Any module.</param>
    /// <param name="provider">The mode and its rules.</param>
    /// <param name="input1">Input 1, such as the model will have.</param>
    /// <param name="input2">Input 2, such as the model will have.</param>
    /// <param name="input3">Input 3, such as the model will have.</param>
    /// <param name="input4">Input 4, such as the model will have.</param>
    /// <param name="methods">Other public methods of the model that will be called.</param>
    /// <returns>A module around the model. The caller owns it.</returns>
    public static QuantizedModule<T1, T2, T3, T4, TResult> QuantizeModel<T1, T2, T3, T4, TResult>(nn.Module<T1, T2, T3, T4, TResult> model, ModelProvider provider, T1 input1, T2 input2, T3 input3, T4 input4, params string[] methods) =>
        ModelQuantizer.Quantize(model, provider, methods, s => new QuantizedModule<T1, T2, T3, T4, TResult>(s), q => q.forward(ModelQuantizer.ToModelDevice(model, input1), ModelQuantizer.ToModelDevice(model, input2), ModelQuantizer.ToModelDevice(model, input3), ModelQuantizer.ToModelDevice(model, input4)));

    /// <summary>Quantizes a model of five inputs; see <see cref="QuantizeModel{T, TResult}"/>.</summary>
    /// <typeparam name="T1">The type of input 1.</typeparam>
    /// <typeparam name="T2">The type of input 2.</typeparam>
    /// <typeparam name="T3">The type of input 3.</typeparam>
    /// <typeparam name="T4">The type of input 4.</typeparam>
    /// <typeparam name="T5">The type of input 5.</typeparam>
    /// <typeparam name="TResult">The type of the result.</typeparam>
    /// <param name="model">Any module.</param>
    /// <param name="provider">The mode and its rules.</param>
    /// <param name="input1">Input 1, such as the model will have.</param>
    /// <param name="input2">Input 2, such as the model will have.</param>
    /// <param name="input3">Input 3, such as the model will have.</param>
    /// <param name="input4">Input 4, such as the model will have.</param>
    /// <param name="input5">Input 5, such as the model will have.</param>
    /// <param name="methods">Other public methods of the model that will be called.</param>
    /// <returns>A module around the model. The caller owns it.</returns>
    public static QuantizedModule<T1, T2, T3, T4, T5, TResult> QuantizeModel<T1, T2, T3, T4, T5, TResult>(nn.Module<T1, T2, T3, T4, T5, TResult> model, ModelProvider provider, T1 input1, T2 input2, T3 input3, T4 input4, T5 input5, params string[] methods) =>
        ModelQuantizer.Quantize(model, provider, methods, s => new QuantizedModule<T1, T2, T3, T4, T5, TResult>(s), q => q.forward(ModelQuantizer.ToModelDevice(model, input1), ModelQuantizer.ToModelDevice(model, input2), ModelQuantizer.ToModelDevice(model, input3), ModelQuantizer.ToModelDevice(model, input4), ModelQuantizer.ToModelDevice(model, input5)));

    /// <summary>Quantizes a model of six inputs; see <see cref="QuantizeModel{T, TResult}"/>.</summary>
    /// <typeparam name="T1">The type of input 1.</typeparam>
    /// <typeparam name="T2">The type of input 2.</typeparam>
    /// <typeparam name="T3">The type of input 3.</typeparam>
    /// <typeparam name="T4">The type of input 4.</typeparam>
    /// <typeparam name="T5">The type of input 5.</typeparam>
    /// <typeparam name="T6">The type of input 6.</typeparam>
    /// <typeparam name="TResult">The type of the result.</typeparam>
    /// <param name="model">Any module.</param>
    /// <param name="provider">The mode and its rules.</param>
    /// <param name="input1">Input 1, such as the model will have.</param>
    /// <param name="input2">Input 2, such as the model will have.</param>
    /// <param name="input3">Input 3, such as the model will have.</param>
    /// <param name="input4">Input 4, such as the model will have.</param>
    /// <param name="input5">Input 5, such as the model will have.</param>
    /// <param name="input6">Input 6, such as the model will have.</param>
    /// <param name="methods">Other public methods of the model that will be called.</param>
    /// <returns>A module around the model. The caller owns it.</returns>
    public static QuantizedModule<T1, T2, T3, T4, T5, T6, TResult> QuantizeModel<T1, T2, T3, T4, T5, T6, TResult>(nn.Module<T1, T2, T3, T4, T5, T6, TResult> model, ModelProvider provider, T1 input1, T2 input2, T3 input3, T4 input4, T5 input5, T6 input6, params string[] methods) =>
        ModelQuantizer.Quantize(model, provider, methods, s => new QuantizedModule<T1, T2, T3, T4, T5, T6, TResult>(s), q => q.forward(ModelQuantizer.ToModelDevice(model, input1), ModelQuantizer.ToModelDevice(model, input2), ModelQuantizer.ToModelDevice(model, input3), ModelQuantizer.ToModelDevice(model, input4), ModelQuantizer.ToModelDevice(model, input5), ModelQuantizer.ToModelDevice(model, input6)));

    /// <summary>
    /// Turns floating-point parameters into the quantized ones of a model, without running or holding the model: for
    /// models that are larger than memory, a part of the state dict at a time.
    /// </summary>
    /// <param name="stateDict">Parameters and buffers by their paths, all of the model's or a part. They are not changed.</param>
    /// <param name="abstractModel">What <see cref="QuantizeModel{T, TResult}"/> gives for the model, on the meta device or not.</param>
    /// <param name="quantStats">Statistics of activations, for rules with static scales; each place becomes a scale.</param>
    /// <param name="allowExtra">Whether entries that the model does not have are left out, rather than refused.</param>
    /// <returns>
    /// Entries for <c>load_state_dict</c> of a quantized model: <c>path.qvalue</c>, <c>path.scale</c>, <c>path.zero_point</c> for
    /// quantized parameters and <c>…_scale</c>, <c>…_zero_point</c> for static scales, which the caller owns; other entries are
    /// the tensors that were given.
    /// </returns>
    /// <exception cref="QwixException">
    /// An entry is not the model's, has another shape, no floating-point dtype, or values that are not finite; or statistics
    /// are for no activation of the model. The message names the entry.
    /// </exception>
    public static Dictionary<string, Tensor> QuantizeParams(IReadOnlyDictionary<string, Tensor> stateDict, IQuantizedModel abstractModel, QuantStats? quantStats = null, bool allowExtra = false) =>
        ParamsQuantizer.Quantize(stateDict, abstractModel, quantStats, allowExtra);
}
