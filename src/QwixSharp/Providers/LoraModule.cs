using QwixSharp.Providers.Lora;
using QwixSharp.Providers.Models;

namespace QwixSharp.Providers;

/// <summary>A model with low-rank adapters.</summary>
/// <remarks>
/// It is a quantized model (see <see cref="IQuantizedModel"/>) whose <c>parameters()</c> are those of its adapters alone:
/// give them to any optimizer. The parameters of the user's module are frozen: no gradient flows to them, and the model
/// shows them, or their quantized forms, as buffers, so that its state dict is complete. The user's module keeps its own
/// parameters and may still be trained by itself.
/// </remarks>
public interface ILoraModel : IQuantizedModel
{
    /// <summary>The adapters.</summary>
    LoraAdapters Adapters { get; }
}

/// <summary>A model of one input with low-rank adapters; see <see cref="ILoraModel"/>.</summary>
/// <typeparam name="T">The type of the input.</typeparam>
/// <typeparam name="TResult">The type of the result.</typeparam>
public sealed class LoraModule<T, TResult> : QuantizedModule<T, TResult>, ILoraModel
{
    internal LoraModule(ModelState state) : base(state)
    {
    }

    /// <inheritdoc/>
    public LoraAdapters Adapters => Core.State.Adapters!;
}

/// <summary>A model of two inputs with low-rank adapters; see <see cref="ILoraModel"/>.</summary>
/// <typeparam name="T1">The type of input 1.</typeparam>
/// <typeparam name="T2">The type of input 2.</typeparam>
/// <typeparam name="TResult">The type of the result.</typeparam>
public sealed class LoraModule<T1, T2, TResult> : QuantizedModule<T1, T2, TResult>, ILoraModel
{
    internal LoraModule(ModelState state) : base(state)
    {
    }

    /// <inheritdoc/>
    public LoraAdapters Adapters => Core.State.Adapters!;
}

/// <summary>A model of three inputs with low-rank adapters; see <see cref="ILoraModel"/>.</summary>
/// <typeparam name="T1">The type of input 1.</typeparam>
/// <typeparam name="T2">The type of input 2.</typeparam>
/// <typeparam name="T3">The type of input 3.</typeparam>
/// <typeparam name="TResult">The type of the result.</typeparam>
public sealed class LoraModule<T1, T2, T3, TResult> : QuantizedModule<T1, T2, T3, TResult>, ILoraModel
{
    internal LoraModule(ModelState state) : base(state)
    {
    }

    /// <inheritdoc/>
    public LoraAdapters Adapters => Core.State.Adapters!;
}

/// <summary>A model of four inputs with low-rank adapters; see <see cref="ILoraModel"/>.</summary>
/// <typeparam name="T1">The type of input 1.</typeparam>
/// <typeparam name="T2">The type of input 2.</typeparam>
/// <typeparam name="T3">The type of input 3.</typeparam>
/// <typeparam name="T4">The type of input 4.</typeparam>
/// <typeparam name="TResult">The type of the result.</typeparam>
public sealed class LoraModule<T1, T2, T3, T4, TResult> : QuantizedModule<T1, T2, T3, T4, TResult>, ILoraModel
{
    internal LoraModule(ModelState state) : base(state)
    {
    }

    /// <inheritdoc/>
    public LoraAdapters Adapters => Core.State.Adapters!;
}

/// <summary>A model of five inputs with low-rank adapters; see <see cref="ILoraModel"/>.</summary>
/// <typeparam name="T1">The type of input 1.</typeparam>
/// <typeparam name="T2">The type of input 2.</typeparam>
/// <typeparam name="T3">The type of input 3.</typeparam>
/// <typeparam name="T4">The type of input 4.</typeparam>
/// <typeparam name="T5">The type of input 5.</typeparam>
/// <typeparam name="TResult">The type of the result.</typeparam>
public sealed class LoraModule<T1, T2, T3, T4, T5, TResult> : QuantizedModule<T1, T2, T3, T4, T5, TResult>, ILoraModel
{
    internal LoraModule(ModelState state) : base(state)
    {
    }

    /// <inheritdoc/>
    public LoraAdapters Adapters => Core.State.Adapters!;
}

/// <summary>A model of six inputs with low-rank adapters; see <see cref="ILoraModel"/>.</summary>
/// <typeparam name="T1">The type of input 1.</typeparam>
/// <typeparam name="T2">The type of input 2.</typeparam>
/// <typeparam name="T3">The type of input 3.</typeparam>
/// <typeparam name="T4">The type of input 4.</typeparam>
/// <typeparam name="T5">The type of input 5.</typeparam>
/// <typeparam name="T6">The type of input 6.</typeparam>
/// <typeparam name="TResult">The type of the result.</typeparam>
public sealed class LoraModule<T1, T2, T3, T4, T5, T6, TResult> : QuantizedModule<T1, T2, T3, T4, T5, T6, TResult>, ILoraModel
{
    internal LoraModule(ModelState state) : base(state)
    {
    }

    /// <inheritdoc/>
    public LoraAdapters Adapters => Core.State.Adapters!;
}
