using System.Runtime.CompilerServices;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>What a MultiheadAttention was made with, measured once a module by <see cref="AttentionProbe"/>.</summary>
[NotIntercepted]
internal sealed class AttentionOptions
{
    private static readonly ConditionalWeakTable<MultiheadAttention, AttentionOptions> Known = [];
    private readonly AttentionSettings _evaluation;
    private readonly Lazy<AttentionSettings> _training;

    private AttentionOptions(MultiheadAttention module)
    {
        _evaluation = AttentionProbe.Structure(module, Names);
        var weak = new WeakReference<MultiheadAttention>(module);
        _training = new(() => weak.TryGetTarget(out var alive) ? _evaluation with { Dropout = AttentionProbe.Dropout(alive, Names, _evaluation.Heads) } : _evaluation);
    }

    internal AttentionNames Names { get; } = new("");

    internal static AttentionOptions Of(MultiheadAttention module) => Known.GetValue(module, static m => new(m));

    internal AttentionSettings Settings(bool training) => training ? _training.Value : _evaluation;

    /// <summary>What TorchSharp's own module gives in place of weights that were not asked for: a tensor without a handle.</summary>
    internal static Tensor NoWeights() => Tensor.UnsafeCreateTensor(IntPtr.Zero);
}
