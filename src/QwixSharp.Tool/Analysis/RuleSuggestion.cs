using System.Text.RegularExpressions;
using QwixSharp.Arrays;
using QwixSharp.Rules;

namespace QwixSharp.Tool.Analysis;

/// <summary>
/// Chooses a scheme for each weight so that all together fit a size. It looks at weights alone: every weight's relative noise
/// counts the same, whatever the layer does with it.
/// </summary>
internal static class RuleSuggestion
{
    private const string Weight = ".weight";

    /// <summary>
    /// Begins with the most precise scheme everywhere and, until the size fits, makes the step that saves bytes for the least
    /// noise a byte.
    /// </summary>
    /// <param name="layers">What each scheme would do; each layer has at least one.</param>
    /// <param name="targetBytes">The size that the weights may have together.</param>
    /// <returns>For each layer the index of its scheme.</returns>
    /// <exception cref="QwixException">Even the smallest schemes are larger.</exception>
    internal static int[] Choose(IReadOnlyList<LayerSensitivity> layers, long targetBytes)
    {
        var chosen = new int[layers.Count];
        long bytes = layers.Sum(l => l.Options[0].Bytes);
        var steps = new PriorityQueue<(int Layer, int To), double>();
        for (int i = 0; i < layers.Count; i++)
            Offer(i);
        while (bytes > targetBytes)
        {
            if (!steps.TryDequeue(out var step, out _))
                throw new QwixException($"Even with the smallest of the schemes the weights take {bytes} bytes, more than the {targetBytes} of the target. Offer a smaller scheme by --schemes, or a larger target.");
            var options = layers[step.Layer].Options;
            bytes -= options[chosen[step.Layer]].Bytes - options[step.To].Bytes;
            chosen[step.Layer] = step.To;
            Offer(step.Layer);
        }

        return chosen;

        void Offer(int layer)
        {
            var options = layers[layer].Options;
            var now = options[chosen[layer]];
            var better = Enumerable.Range(0, options.Count)
                .Where(i => options[i].Bytes < now.Bytes)
                .Select(i => (To: i, Cost: (options[i].RelativeNoise - now.RelativeNoise) / (now.Bytes - options[i].Bytes)))
                .ToList();
            if (better.Count == 0)
                return;
            var (to, cost) = better.MinBy(s => s.Cost);
            steps.Enqueue((layer, to), cost);
        }
    }

    /// <summary>The choice as rules, one a scheme.</summary>
    internal static IReadOnlyList<QuantizationRule> Rules(IReadOnlyList<LayerSensitivity> layers, int[] chosen) =>
    [
        .. layers.Zip(chosen, (l, c) => (Path: ModulePath(l.Name), l.Options[c].Scheme))
            .GroupBy(c => c.Scheme)
            .Select(g => new QuantizationRule
            {
                ModulePath = string.Join('|', g.Select(c => Regex.Escape(c.Path))),
                WeightQType = g.Key.QType,
                TileSize = g.Key.TileSize is { } tile ? new TileSize(tile) : null,
            }),
    ];

    private static string ModulePath(string name) => name.EndsWith(Weight, StringComparison.Ordinal) ? name[..^Weight.Length] : name;
}
