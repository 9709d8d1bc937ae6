using System.Reflection;
using System.Runtime.CompilerServices;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>The parameter names of one direction of one recurrent layer.</summary>
internal sealed record RecurrentNames(string WeightInput, string WeightHidden, string BiasInput, string BiasHidden);

/// <summary>What an LSTM, a GRU or an RNN was made with.</summary>
/// <remarks>
/// Layers, directions and sizes follow from parameter names and shapes; <c>batch_first</c> is a private field of the
/// managed object; the non-linearity and the dropout probability are known to native code alone and are measured.
/// </remarks>
[NotIntercepted]
internal sealed class RecurrentOptions
{
    private static readonly ConditionalWeakTable<nn.Module, RecurrentOptions> Known = [];
    private readonly Lazy<double> _dropout;

    private RecurrentOptions(nn.Module module, RecurrentKind kind, Func<Tensor, Tensor, Tensor> lastHidden)
    {
        Kind = kind;
        BatchFirst = (bool)(module.GetType().GetField("_batch_first", BindingFlags.NonPublic | BindingFlags.Instance)
            ?? throw new QwixException($"{module.GetName()} has no field '_batch_first': use the TorchSharp version that QwixSharp was built with.")).GetValue(module)!;
        Directions = module.has_parameter("weight_ih_l0_reverse") ? 2 : 1;
        while (module.has_parameter($"weight_ih_l{Layers}")) Layers++;
        HiddenSize = ModuleParameters.Required(module, "weight_hh_l0").shape[1];
        Names = new RecurrentNames[Layers * Directions];
        for (var i = 0; i < Names.Length; i++)
        {
            var suffix = $"_l{i / Directions}{(i % Directions == 1 ? "_reverse" : "")}";
            Names[i] = new("weight_ih" + suffix, "weight_hh" + suffix, "bias_ih" + suffix, "bias_hh" + suffix);
        }

        // A weak reference: the table's values must not keep their own keys alive.
        var weak = new WeakReference<nn.Module>(module);
        _dropout = new(() => weak.TryGetTarget(out var alive) ? RecurrentDropout.Measure(alive, this, lastHidden) : 0);
    }

    internal RecurrentKind Kind { get; }

    internal bool BatchFirst { get; }

    internal int Layers { get; }

    internal int Directions { get; }

    internal long HiddenSize { get; }

    internal RecurrentNames[] Names { get; }

    /// <summary>The dropout probability between layers. Ask for it in training mode only: otherwise it cannot be seen.</summary>
    internal double Dropout => _dropout.Value;

    internal static RecurrentOptions Of(LSTM module) =>
        Known.GetValue(module, static m =>
        {
            var weak = new WeakReference<LSTM>((LSTM)m);
            return new(m, RecurrentKind.Lstm, (x, h) => Alive(weak).forward(x, (h, h * 0.5)).Item2);
        });

    internal static RecurrentOptions Of(GRU module) =>
        Known.GetValue(module, static m =>
        {
            var weak = new WeakReference<GRU>((GRU)m);
            return new(m, RecurrentKind.Gru, (x, h) => Alive(weak).forward(x, h).Item2);
        });

    internal static RecurrentOptions Of(RNN module) =>
        Known.GetValue(module, static m =>
        {
            var weak = new WeakReference<RNN>((RNN)m);
            return new(m, NonLinearity.Of((RNN)m), (x, h) => Alive(weak).forward(x, h).Item2);
        });

    private static T Alive<T>(WeakReference<T> weak)
        where T : class => weak.TryGetTarget(out var target) ? target : throw new ObjectDisposedException(typeof(T).Name);
}
