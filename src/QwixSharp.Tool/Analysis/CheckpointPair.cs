using System.Text.RegularExpressions;
using QwixSharp.Checkpoints;
using QwixSharp.Tool.Output;
using static TorchSharp.torch;

namespace QwixSharp.Tool.Analysis;

/// <summary>The tensors that two checkpoints both have, and what only one has or has in another shape.</summary>
internal sealed class CheckpointPair : IDisposable
{
    private CheckpointPair(Checkpoint a, Checkpoint b, Regex? include, Regex? exclude)
    {
        A = a;
        B = b;
        bool Chosen(LogicalTensor t) => include?.IsMatch(t.Name) != false && exclude?.IsMatch(t.Name) != true;
        var inA = a.LogicalTensors.Where(Chosen).ToDictionary(t => t.Name, StringComparer.Ordinal);
        var inB = b.LogicalTensors.Where(Chosen).ToDictionary(t => t.Name, StringComparer.Ordinal);
        var common = inA.Keys.Where(inB.ContainsKey).ToList();
        Common = [.. common.Where(n => inA[n].Shape.SequenceEqual(inB[n].Shape)).Select(n => (inA[n], inB[n]))];
        OtherShape = [.. common.Where(n => !inA[n].Shape.SequenceEqual(inB[n].Shape))];
        OnlyInA = [.. inA.Keys.Where(n => !inB.ContainsKey(n))];
        OnlyInB = [.. inB.Keys.Where(n => !inA.ContainsKey(n))];
    }

    /// <summary>The first checkpoint.</summary>
    internal Checkpoint A { get; }

    /// <summary>The second checkpoint.</summary>
    internal Checkpoint B { get; }

    /// <summary>The tensors of one name and shape.</summary>
    internal IReadOnlyList<(LogicalTensor A, LogicalTensor B)> Common { get; }

    /// <summary>The names of tensors that both have, but in different shapes.</summary>
    internal IReadOnlyList<string> OtherShape { get; }

    /// <summary>The names of tensors that the second lacks.</summary>
    internal IReadOnlyList<string> OnlyInA { get; }

    /// <summary>The names of tensors that the first lacks.</summary>
    internal IReadOnlyList<string> OnlyInB { get; }

    /// <summary>Bytes that a comparison reads.</summary>
    internal long Bytes => Common.Sum(t => t.A.ByteLength + t.B.ByteLength);

    /// <summary>Opens both.</summary>
    internal static CheckpointPair Open(string a, string b, Regex? include, Regex? exclude)
    {
        var first = Checkpoint.Open(a);
        Checkpoint? second = null;
        try
        {
            second = Checkpoint.Open(b);
            return new(first, second, include, exclude);
        }
        catch
        {
            second?.Dispose();
            first.Dispose();
            throw;
        }
    }

    /// <summary>Looks at every pair of tensors, several at once; the results are in the order of <see cref="Common"/>.</summary>
    internal async Task<IReadOnlyList<T>> MapAsync<T>(Func<LogicalTensor, LogicalTensor, T> look, ByteProgress progress, CancellationToken cancel)
    {
        var results = new T[Common.Count];
        var options = new ParallelOptions { CancellationToken = cancel, MaxDegreeOfParallelism = Environment.ProcessorCount };
        await Parallel.ForEachAsync(Enumerable.Range(0, Common.Count), options, (i, _) =>
        {
            var (a, b) = Common[i];
            results[i] = look(a, b);
            progress.Add(a.ByteLength + b.ByteLength);
            return ValueTask.CompletedTask;
        });
        return results;
    }

    /// <summary>Measures one pair.</summary>
    internal static TensorError Measure(LogicalTensor a, LogicalTensor b)
    {
        using var noGrad = no_grad();
        using var first = FloatValues.Read(a);
        using var second = FloatValues.Read(b);
        var error = TensorError.None(a.Name);
        for (int i = 0; i < first.Blocks; i++)
            error = error.Plus(TensorError.Between(a.Name, first.Block(i), second.Block(i)));
        return error;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        A.Dispose();
        B.Dispose();
    }
}
