using System.Reflection;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>
/// Maps the <c>forward</c> methods of TorchSharp modules that run wholly in native code to managed equivalents,
/// whose single ops interception can see.
/// </summary>
/// <remarks>
/// Some <c>call</c> overloads go to native code without passing through <c>forward</c>
/// (<see cref="TransformerEncoderLayer"/> with masks, <see cref="Transformer"/> with masks); they are mapped too.
/// The overloads for a <see cref="torch.nn.utils.rnn.PackedSequence"/> are not, since no managed code can create one.
/// </remarks>
[NotIntercepted]
internal static class NativeModuleTable
{
    private static readonly Dictionary<MethodInfo, MethodInfo> Replacements = Build();

    /// <summary>The native methods that have a managed equivalent.</summary>
    internal static IReadOnlyCollection<MethodInfo> NativeMethods => Replacements.Keys;

    /// <summary>
    /// The managed equivalent of a native module's <c>forward</c>: a static method whose first parameter is the
    /// module and whose other parameters and result are those of <paramref name="forward"/>.
    /// </summary>
    /// <param name="forward">The resolved <c>forward</c> (or <c>call</c>) method of a TorchSharp module.</param>
    /// <returns>The equivalent, or null where the module's own managed code can be intercepted as it is.</returns>
    internal static MethodInfo? ReplacementFor(MethodInfo forward) =>
        Replacements.TryGetValue(forward, out var found) ? found : null;

    private static Dictionary<MethodInfo, MethodInfo> Build()
    {
        var state = typeof((Tensor, Tensor)?);
        Type[] one = [typeof(Tensor)], two = [typeof(Tensor), typeof(Tensor)], three = [.. two, typeof(Tensor)];
        Type[] six = [.. three, .. three], eight = [.. six, .. two], withState = [typeof(Tensor), state];
        var map = new Dictionary<MethodInfo, MethodInfo>();
        Add<Embedding>(typeof(EmbeddingReplacement), "forward", one);
        Add<EmbeddingBag>(typeof(EmbeddingBagReplacement), "forward", three);
        Add<LSTM>(typeof(RecurrentReplacement), "forward", withState);
        Add<GRU>(typeof(RecurrentReplacement), "forward", two);
        Add<RNN>(typeof(RecurrentReplacement), "forward", two);
        Add<LSTMCell>(typeof(RecurrentCellReplacement), "forward", withState);
        Add<GRUCell>(typeof(RecurrentCellReplacement), "forward", two);
        Add<RNNCell>(typeof(RecurrentCellReplacement), "forward", two);
        Add<MultiheadAttention>(typeof(AttentionReplacement), "forward", [.. three, typeof(Tensor), typeof(bool), typeof(Tensor)]);
        Add<TransformerEncoderLayer>(typeof(TransformerReplacement), "forward", one);
        Add<TransformerEncoderLayer>(typeof(TransformerReplacement), "call", two);
        Add<TransformerEncoderLayer>(typeof(TransformerReplacement), "call", three);
        Add<TransformerEncoder>(typeof(TransformerReplacement), "forward", three);
        Add<TransformerDecoderLayer>(typeof(TransformerReplacement), "forward", six);
        Add<TransformerDecoder>(typeof(TransformerReplacement), "forward", six);
        Add<Transformer>(typeof(TransformerReplacement), "forward", two);
        Add<Transformer>(typeof(TransformerReplacement), "call", eight);
        return map;

        void Add<TModule>(Type equivalents, string name, Type[] parameters)
            where TModule : nn.Module
        {
            const BindingFlags declared = BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly;
            var native = typeof(TModule).GetMethod(name, declared, parameters)
                ?? throw new QwixException($"TorchSharp.Modules.{typeof(TModule).Name}.{name} with {parameters.Length} parameters is missing: use the TorchSharp version that QwixSharp was built with.");
            map.Add(native, equivalents.GetMethod("Forward", BindingFlags.NonPublic | BindingFlags.Static, [typeof(TModule), .. parameters])!);
        }
    }
}
