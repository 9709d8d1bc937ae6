using System.Runtime.CompilerServices;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>What an EmbeddingBag was made with; TorchSharp keeps none of it, so the native module is asked.</summary>
[NotIntercepted]
internal sealed class EmbeddingBagOptions
{
    private static readonly ConditionalWeakTable<EmbeddingBag, EmbeddingBagOptions> Known = [];
    private readonly Parameter _registered;
    private readonly bool _changesTable;

    private EmbeddingBagOptions(EmbeddingBag module)
    {
        _registered = ModuleParameters.Required(module, "weight");
        Weight = EmbeddingTable.Effective(_registered, module.weight!);
        _changesTable = EmbeddingTable.IsChangedBy(Weight, indices => module.forward(indices, zeros([1], dtype: ScalarType.Int64, device: indices.device), null));
        Gradient = new(-1, false, false);
        if (_changesTable || Weight.device.type == DeviceType.META || Weight.numel() == 0) return;

        // Each index a bag of its own; the offset after the last is the end of the last bag or one more, empty bag.
        Gradient = EmbeddingTable.Gradient(module, Weight, indices => Bags(module, indices, arange(indices.shape[0] + 1, dtype: ScalarType.Int64, device: indices.device)));
        using var scope = NewDisposeScope();
        using var nothing = no_grad();
        using var single = zeros([1], dtype: ScalarType.Int64, device: Weight.device);
        IncludeLastOffset = Bags(module, single, arange(2, dtype: ScalarType.Int64, device: Weight.device)).shape[0] == 1;
        Mode = Reduction(module);
    }

    /// <summary>The table that native code looks up, as the registered parameter where that is the same.</summary>
    internal Parameter Weight { get; }

    internal EmbeddingGradientOptions Gradient { get; }

    internal bool IncludeLastOffset { get; }

    internal EmbeddingBagMode Mode { get; } = EmbeddingBagMode.Mean;

    /// <remarks>
    /// libtorch's frequency-scaled gradient of bags divides by the counts of other rows than it should; training goes
    /// on as it was with native code alone.
    /// </remarks>
    internal bool MustRunNatively =>
        _changesTable || (is_grad_enabled() && Weight.requires_grad && (Gradient.IsSparse || Gradient.ScaledByFrequency));

    internal static EmbeddingBagOptions Of(EmbeddingBag module)
    {
        var options = Known.GetValue(module, static m => new(m));
        if (ReferenceEquals(options._registered, ModuleParameters.Required(module, "weight"))) return options;
        options = new(module);
        Known.AddOrUpdate(module, options);
        return options;
    }

    internal Tensor RunNatively(EmbeddingBag module, Tensor input, Tensor? offsets, Tensor? perSampleWeights) =>
        module.forward(input, offsets, perSampleWeights);

    private static Tensor Bags(EmbeddingBag module, Tensor indices, Tensor offsets) => module.forward(indices, offsets, null);

    /// <summary>
    /// Tells the modes by the gradient of one bag of two rows, which does not depend on their values: 1 and 1 for a
    /// sum, ½ and ½ for a mean, 1 and 0 for a maximum.
    /// </summary>
    private EmbeddingBagMode Reduction(EmbeddingBag module)
    {
        long[] rows = [.. Enumerable.Range(0, (int)Math.Min(3, Weight.shape[0])).Select(i => (long)i).Where(i => i != Gradient.PaddingIndex)];
        if (rows.Length == 0) return EmbeddingBagMode.Sum;
        using var bounds = tensor(new long[] { 0, 2 }).to(Weight.device);
        if (rows.Length > 1)
        {
            using var pair = tensor(rows[..2]).to(Weight.device);
            var gradient = Probe.Gradients(module, () => Bags(module, pair, bounds), Weight)[0];
            if (gradient.is_sparse) gradient = gradient.to_dense();
            var values = Probe.ToArray(gradient.select(1, 0).index_select(0, pair));
            return Math.Abs(values[0] - values[1]) > 0.75 ? EmbeddingBagMode.Max : values[0] < 0.75 ? EmbeddingBagMode.Mean : EmbeddingBagMode.Sum;
        }

        // A single row: its mean and its maximum are the same, its sum with itself is not.
        using var twice = tensor([rows[0], rows[0]]).to(Weight.device);
        var row = Weight[rows[0]];
        var bag = Bags(module, twice, bounds)[0];
        return Probe.MaxDifference(bag, row) > Probe.MaxDifference(bag, row * 2) ? EmbeddingBagMode.Sum : EmbeddingBagMode.Mean;
    }
}
