using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.Peft;
using QwixSharp.Providers;
using QwixSharp.Providers.Lora;
using QwixSharp.Providers.Models;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp;

/// <content>Low-rank adapters.</content>
public static partial class Qwix
{
    /// <summary>
    /// Gives a model low-rank adapters: runs it once on the input, in evaluation mode and without gradients, and makes an
    /// adapter for the weight of each op that a <see cref="LoraRule"/> matches. The model is not changed.
    /// </summary>
    /// <typeparam name="T">The type of the input.</typeparam>
    /// <typeparam name="TResult">The type of the result.</typeparam>
    /// <param name="model">Any module, of any code.</param>
    /// <param name="provider">The rules.</param>
    /// <param name="input">An input such as the model will have.</param>
    /// <param name="methods">Other public methods of the model that will be called, by <see cref="IQuantizedModel.Invoke"/>; checked to exist.</param>
    /// <returns>A module around the model whose parameters are the adapters; see <see cref="ILoraModel"/>. The caller owns it.</returns>
    /// <exception cref="RuleException">No rule matches any op, or none gives a weight an adapter.</exception>
    /// <exception cref="QwixException">A rank does not fit its weight, or a weight cannot be quantized as its rule says; the message names it.</exception>
    /// <exception cref="QwixSharp.Interception.InterceptionException">The provider is strict, and not all code of the model can be seen.</exception>
    public static LoraModule<T, TResult> ApplyLora<T, TResult>(nn.Module<T, TResult> model, LoraProvider provider, T input, params string[] methods) =>
        LoraModel.Checked(ModelQuantizer.Quantize(model, provider, methods, s => new LoraModule<T, TResult>(s), q => q.forward(ModelQuantizer.ToModelDevice(model, input))), provider);

    /// <summary>Gives a model of two inputs low-rank adapters; see <see cref="ApplyLora{T, TResult}"/>.</summary>
    /// <typeparam name="T1">The type of input 1.</typeparam>
    /// <typeparam name="T2">The type of input 2.</typeparam>
    /// <typeparam name="TResult">The type of the result.</typeparam>
    /// <param name="model">Any module.</param>
    /// <param name="provider">The rules.</param>
    /// <param name="input1">Input 1, such as the model will have.</param>
    /// <param name="input2">Input 2, such as the model will have.</param>
    /// <param name="methods">Other public methods of the model that will be called.</param>
    /// <returns>A module around the model. The caller owns it.</returns>
    public static LoraModule<T1, T2, TResult> ApplyLora<T1, T2, TResult>(nn.Module<T1, T2, TResult> model, LoraProvider provider, T1 input1, T2 input2, params string[] methods) =>
        LoraModel.Checked(ModelQuantizer.Quantize(model, provider, methods, s => new LoraModule<T1, T2, TResult>(s), q => q.forward(ModelQuantizer.ToModelDevice(model, input1), ModelQuantizer.ToModelDevice(model, input2))), provider);

    /// <summary>Gives a model of three inputs low-rank adapters; see <see cref="ApplyLora{T, TResult}"/>.</summary>
    /// <typeparam name="T1">The type of input 1.</typeparam>
    /// <typeparam name="T2">The type of input 2.</typeparam>
    /// <typeparam name="T3">The type of input 3.</typeparam>
    /// <typeparam name="TResult">The type of the result.</typeparam>
    /// <param name="model">Any module.</param>
    /// <param name="provider">The rules.</param>
    /// <param name="input1">Input 1, such as the model will have.</param>
    /// <param name="input2">Input 2, such as the model will have.</param>
    /// <param name="input3">Input 3, such as the model will have.</param>
    /// <param name="methods">Other public methods of the model that will be called.</param>
    /// <returns>A module around the model. The caller owns it.</returns>
    public static LoraModule<T1, T2, T3, TResult> ApplyLora<T1, T2, T3, TResult>(nn.Module<T1, T2, T3, TResult> model, LoraProvider provider, T1 input1, T2 input2, T3 input3, params string[] methods) =>
        LoraModel.Checked(ModelQuantizer.Quantize(model, provider, methods, s => new LoraModule<T1, T2, T3, TResult>(s), q => q.forward(ModelQuantizer.ToModelDevice(model, input1), ModelQuantizer.ToModelDevice(model, input2), ModelQuantizer.ToModelDevice(model, input3))), provider);

    /// <summary>Gives a model of four inputs low-rank adapters; see <see cref="ApplyLora{T, TResult}"/>.</summary>
    /// <typeparam name="T1">The type of input 1.</typeparam>
    /// <typeparam name="T2">The type of input 2.</typeparam>
    /// <typeparam name="T3">The type of input 3.</typeparam>
    /// <typeparam name="T4">The type of input 4.</typeparam>
    /// <typeparam name="TResult">The type of the result.</typeparam>
    /// <param name="model">Any module.</param>
    /// <param name="provider">The rules.</param>
    /// <param name="input1">Input 1, such as the model will have.</param>
    /// <param name="input2">Input 2, such as the model will have.</param>
    /// <param name="input3">Input 3, such as the model will have.</param>
    /// <param name="input4">Input 4, such as the model will have.</param>
    /// <param name="methods">Other public methods of the model that will be called.</param>
    /// <returns>A module around the model. The caller owns it.</returns>
    public static LoraModule<T1, T2, T3, T4, TResult> ApplyLora<T1, T2, T3, T4, TResult>(nn.Module<T1, T2, T3, T4, TResult> model, LoraProvider provider, T1 input1, T2 input2, T3 input3, T4 input4, params string[] methods) =>
        LoraModel.Checked(ModelQuantizer.Quantize(model, provider, methods, s => new LoraModule<T1, T2, T3, T4, TResult>(s), q => q.forward(ModelQuantizer.ToModelDevice(model, input1), ModelQuantizer.ToModelDevice(model, input2), ModelQuantizer.ToModelDevice(model, input3), ModelQuantizer.ToModelDevice(model, input4))), provider);

    /// <summary>Gives a model of five inputs low-rank adapters; see <see cref="ApplyLora{T, TResult}"/>.</summary>
    /// <typeparam name="T1">The type of input 1.</typeparam>
    /// <typeparam name="T2">The type of input 2.</typeparam>
    /// <typeparam name="T3">The type of input 3.</typeparam>
    /// <typeparam name="T4">The type of input 4.</typeparam>
    /// <typeparam name="T5">The type of input 5.</typeparam>
    /// <typeparam name="TResult">The type of the result.</typeparam>
    /// <param name="model">Any module.</param>
    /// <param name="provider">The rules.</param>
    /// <param name="input1">Input 1, such as the model will have.</param>
    /// <param name="input2">Input 2, such as the model will have.</param>
    /// <param name="input3">Input 3, such as the model will have.</param>
    /// <param name="input4">Input 4, such as the model will have.</param>
    /// <param name="input5">Input 5, such as the model will have.</param>
    /// <param name="methods">Other public methods of the model that will be called.</param>
    /// <returns>A module around the model. The caller owns it.</returns>
    public static LoraModule<T1, T2, T3, T4, T5, TResult> ApplyLora<T1, T2, T3, T4, T5, TResult>(nn.Module<T1, T2, T3, T4, T5, TResult> model, LoraProvider provider, T1 input1, T2 input2, T3 input3, T4 input4, T5 input5, params string[] methods) =>
        LoraModel.Checked(ModelQuantizer.Quantize(model, provider, methods, s => new LoraModule<T1, T2, T3, T4, T5, TResult>(s), q => q.forward(ModelQuantizer.ToModelDevice(model, input1), ModelQuantizer.ToModelDevice(model, input2), ModelQuantizer.ToModelDevice(model, input3), ModelQuantizer.ToModelDevice(model, input4), ModelQuantizer.ToModelDevice(model, input5))), provider);

    /// <summary>Gives a model of six inputs low-rank adapters; see <see cref="ApplyLora{T, TResult}"/>.</summary>
    /// <typeparam name="T1">The type of input 1.</typeparam>
    /// <typeparam name="T2">The type of input 2.</typeparam>
    /// <typeparam name="T3">The type of input 3.</typeparam>
    /// <typeparam name="T4">The type of input 4.</typeparam>
    /// <typeparam name="T5">The type of input 5.</typeparam>
    /// <typeparam name="T6">The type of input 6.</typeparam>
    /// <typeparam name="TResult">The type of the result.</typeparam>
    /// <param name="model">Any module.</param>
    /// <param name="provider">The rules.</param>
    /// <param name="input1">Input 1, such as the model will have.</param>
    /// <param name="input2">Input 2, such as the model will have.</param>
    /// <param name="input3">Input 3, such as the model will have.</param>
    /// <param name="input4">Input 4, such as the model will have.</param>
    /// <param name="input5">Input 5, such as the model will have.</param>
    /// <param name="input6">Input 6, such as the model will have.</param>
    /// <param name="methods">Other public methods of the model that will be called.</param>
    /// <returns>A module around the model. The caller owns it.</returns>
    public static LoraModule<T1, T2, T3, T4, T5, T6, TResult> ApplyLora<T1, T2, T3, T4, T5, T6, TResult>(nn.Module<T1, T2, T3, T4, T5, T6, TResult> model, LoraProvider provider, T1 input1, T2 input2, T3 input3, T4 input4, T5 input5, T6 input6, params string[] methods) =>
        LoraModel.Checked(ModelQuantizer.Quantize(model, provider, methods, s => new LoraModule<T1, T2, T3, T4, T5, T6, TResult>(s), q => q.forward(ModelQuantizer.ToModelDevice(model, input1), ModelQuantizer.ToModelDevice(model, input2), ModelQuantizer.ToModelDevice(model, input3), ModelQuantizer.ToModelDevice(model, input4), ModelQuantizer.ToModelDevice(model, input5), ModelQuantizer.ToModelDevice(model, input6))), provider);

    /// <summary>The rules of an adapter that Hugging Face's PEFT, or <see cref="SaveAdapter"/>, wrote: those that make room for it on its base.</summary>
    /// <param name="folder">The folder with <c>adapter_config.json</c> and <c>adapter_model.safetensors</c>.</param>
    /// <returns>A rule for each rank and scaling. For QLoRA give them a weight type: <c>rule with { WeightQType = "nf4", TileSize = 64 }</c>.</returns>
    /// <exception cref="CheckpointException">The folder holds no adapter, or one with settings that are not known here; the message names them.</exception>
    public static IReadOnlyList<LoraRule> ReadAdapterRules(string folder)
    {
        using var adapter = PeftAdapter.Open(folder);
        return adapter.Rules();
    }

    /// <summary>
    /// Loads an adapter that Hugging Face's PEFT, or <see cref="SaveAdapter"/>, wrote. An adapter of the same name is
    /// replaced; a new one is not active until <see cref="LoraAdapters.Set"/>.
    /// </summary>
    /// <param name="model">What <see cref="ApplyLora{T, TResult}"/> gave, with adapters wherever the file has them.</param>
    /// <param name="folder">The folder with <c>adapter_config.json</c> and <c>adapter_model.safetensors</c>.</param>
    /// <param name="name">The adapter's name on the model.</param>
    /// <exception cref="CheckpointException">The folder holds no adapter, or one with settings that are not known here; the message names them.</exception>
    /// <exception cref="QwixException">The adapter does not fit the model; the message names the module. The model is unchanged.</exception>
    public static void LoadAdapter(ILoraModel model, string folder, string name = LoraAdapters.Default)
    {
        ArgumentNullException.ThrowIfNull(model);
        using var adapter = PeftAdapter.Open(folder);
        adapter.PutOn(model, name);
    }

    /// <summary>
    /// Saves an adapter alone, in the layout of Hugging Face's PEFT: <c>adapter_config.json</c> and
    /// <c>adapter_model.safetensors</c>.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="folder">The folder; made where there is none.</param>
    /// <param name="name">The adapter; the active one unless told.</param>
    /// <param name="baseModel">The name of the base model, such as one on the Hugging Face hub, for the file to say; or null.</param>
    /// <exception cref="QwixException">There is no such adapter, or PEFT has no layout for one of its weights; the message names it.</exception>
    /// <exception cref="CheckpointException">The folder cannot be written to.</exception>
    public static void SaveAdapter(ILoraModel model, string folder, string? name = null, string? baseModel = null) =>
        PeftWriter.Write(model, folder, name, baseModel);
}
