using System.Numerics;

namespace QwixSharp.Samples.Chat;

/// <summary>How the next token is chosen.</summary>
/// <param name="Temperature">Divides the scores; 0 takes the likeliest token.</param>
/// <param name="TopK">Only so many of the likeliest tokens are looked at; 0 for all.</param>
/// <param name="TopP">Of those, only the likeliest that together have this probability.</param>
/// <param name="Seed">Makes the choices repeatable; null for other ones each time.</param>
public sealed record Sampling(float Temperature = 0, int TopK = 0, float TopP = 1, int? Seed = null);

/// <summary>Chooses tokens.</summary>
public sealed class Sampler(Sampling sampling)
{
    private readonly Random _random = sampling.Seed is { } seed ? new Random(seed) : new Random();

    /// <summary>Chooses a token.</summary>
    /// <param name="logits">A score for each token.</param>
    public int Choose(ReadOnlySpan<float> logits)
    {
        if (sampling.Temperature == 0)
            return Likeliest(logits);
        var candidates = new (int Id, float Score)[logits.Length];
        for (var id = 0; id < logits.Length; id++)
            candidates[id] = (id, logits[id]);
        Array.Sort(candidates, (a, b) => b.Score.CompareTo(a.Score));
        var count = sampling.TopK > 0 ? Math.Min(sampling.TopK, candidates.Length) : candidates.Length;
        var weights = new double[count];
        for (var i = 0; i < count; i++)
            weights[i] = Math.Exp((candidates[i].Score - candidates[0].Score) / sampling.Temperature);
        return candidates[Draw(Nucleus(weights))].Id;
    }

    private static int Likeliest(ReadOnlySpan<float> logits)
    {
        var (best, from) = (new Vector<float>(float.NegativeInfinity), 0);
        for (; from <= logits.Length - Vector<float>.Count; from += Vector<float>.Count)
            best = Vector.Max(best, new Vector<float>(logits[from..]));
        var largest = float.NegativeInfinity;
        for (var lane = 0; lane < Vector<float>.Count; lane++)
            largest = Math.Max(largest, best[lane]);
        foreach (var score in logits[from..])
            largest = Math.Max(largest, score);
        return Math.Max(logits.IndexOf(largest), 0);
    }

    /// <summary>The fewest of the first weights that have the probability asked for (Holtzman et al., arXiv 1904.09751).</summary>
    private ReadOnlySpan<double> Nucleus(double[] weights)
    {
        double wanted = weights.Sum() * sampling.TopP, sum = 0;
        var count = 0;
        while (count < weights.Length && (count == 0 || sum < wanted))
            sum += weights[count++];
        return weights.AsSpan(0, count);
    }

    private int Draw(ReadOnlySpan<double> weights)
    {
        var total = 0.0;
        foreach (var weight in weights)
            total += weight;
        var point = _random.NextDouble() * total;
        for (var i = 0; i < weights.Length; i++)
            if ((point -= weights[i]) < 0)
                return i;
        return weights.Length - 1;
    }
}
