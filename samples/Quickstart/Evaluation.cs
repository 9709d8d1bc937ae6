using System.Diagnostics;
using QwixSharp.Samples.Common;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Samples.Quickstart;

/// <summary>What one encoder gave: its embeddings, and what it cost.</summary>
/// <param name="Scheme">The name of the scheme.</param>
/// <param name="Bytes">The size of all that the model holds.</param>
/// <param name="Embeddings">An embedding a sentence, float32, <c>[sentences, width]</c>.</param>
/// <param name="MillisecondsSingly">The time for a sentence, each embedded by itself.</param>
/// <param name="MillisecondsBatched">The time for a sentence, embedded in batches.</param>
internal sealed record Outcome(string Scheme, long Bytes, Tensor Embeddings, double MillisecondsSingly, double MillisecondsBatched)
{
    private const int Passes = 7;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(8);

    /// <summary>Embeds all sentences, singly and in batches, several times over; fewer times where that takes long.</summary>
    /// <param name="scheme">The name of the scheme.</param>
    /// <param name="encoder">The encoder, quantized or not.</param>
    /// <param name="singly">A sentence a batch.</param>
    /// <param name="batched">The same sentences, in the same order, several a batch.</param>
    /// <param name="report">Receives the part that is done, from 0 to 1.</param>
    public static Outcome Of(string scheme, Module<Tensor, Tensor, Tensor> encoder, IReadOnlyList<TextBatch> singly, IReadOnlyList<TextBatch> batched, Action<double> report)
    {
        using var noGrad = no_grad();
        var embeddings = Embed(encoder, batched);
        Embed(encoder, [.. singly.Take(2)]).Dispose();

        var (one, many) = (new Timing(), new Timing());
        var start = Stopwatch.GetTimestamp();
        for (var pass = 0; pass < Passes && (pass == 0 || Stopwatch.GetElapsedTime(start) < Patience); pass++)
        {
            one.Run(() => Embed(encoder, singly), Sentences.All.Count).Dispose();
            many.Run(() => Embed(encoder, batched), Sentences.All.Count).Dispose();
            report((pass + 1.0) / Passes);
        }

        return new Outcome(scheme, BytesOf(encoder), embeddings, one.Median, many.Median);
    }

    /// <summary>The embeddings of all batches, one after the other.</summary>
    public static Tensor Embed(Module<Tensor, Tensor, Tensor> encoder, IReadOnlyList<TextBatch> batches)
    {
        using var scope = NewDisposeScope();
        return cat([.. batches.Select(batch => encoder.call(batch.Ids, batch.Mask))], 0).MoveToOuterDisposeScope();
    }

    private static long BytesOf(Module model) => model.state_dict().Values.Sum(t => t.NumberOfElements * t.ElementSize);
}
