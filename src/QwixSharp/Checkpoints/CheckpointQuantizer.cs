using QwixSharp.Checkpoints.Layouts;
using QwixSharp.Checkpoints.Quantization;
using QwixSharp.Checkpoints.Safetensors;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints;

/// <summary>
/// Quantizes the weights of a floating-point checkpoint of any size, without its model: it streams, so that memory stays at
/// some megabytes a thread. The result has this project's layout, and the numbers that <c>Qwix.QuantizeParams</c> gives.
/// </summary>
/// <remarks>
/// A checkpoint has no ops. Of the tensors called <c>…weight</c>, a matrix counts as one of <c>embedding</c> where its module's name
/// has "embed" in it, or is <c>wte</c> or <c>wpe</c>, else of <c>dot_general</c>; one of three to five axes as one of
/// <c>conv_general_dilated</c>. All other tensors are copied.
/// </remarks>
public sealed class CheckpointQuantizer
{
    private readonly IReadOnlyList<QuantizationRule> _rules;

    /// <summary>Creates a quantizer.</summary>
    /// <param name="rules">The rules in order of precedence. What they say of activations is stored with the weights.</param>
    /// <exception cref="RuleException">A rule contradicts itself, or its path is not a regular expression.</exception>
    public CheckpointQuantizer(IEnumerable<QuantizationRule> rules)
    {
        ArgumentNullException.ThrowIfNull(rules);
        _rules = [.. rules];
        foreach (var rule in _rules)
            RuleValidation.Check(rule, OpNames.All);
        _ = new RuleMatcher(_rules);
    }

    /// <summary>The floating-point dtype in which scales are computed and stored; each tensor's own unless told.</summary>
    public ScalarType? ComputeDtype { get; init; }

    /// <summary>The bytes of tensors that a shard of a folder may have. A run that was interrupted goes on after the last whole shard.</summary>
    public long MaxShardSize { get; init; } = SafetensorsWriter.DefaultShardSize;

    /// <summary>How many threads read, quantize and write; all processors unless told.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;

    /// <summary>What quantizing would do. Reads descriptions only.</summary>
    /// <param name="source">The checkpoint.</param>
    /// <returns>A plan for each tensor.</returns>
    /// <exception cref="CheckpointException">A rule cannot be followed, for instance because tiles do not divide an axis, or a tensor is quantized already.</exception>
    public CheckpointQuantizationPlan Plan(Checkpoint source)
    {
        ArgumentNullException.ThrowIfNull(source);
        var planner = new TensorPlanner(_rules, ComputeDtype);
        return new CheckpointQuantizationPlan([.. source.LogicalTensors.Select(planner.Plan)]);
    }

    /// <summary>Quantizes a checkpoint.</summary>
    /// <param name="source">The checkpoint.</param>
    /// <param name="target">
    /// A file that ends in <c>.safetensors</c>, or a folder: with shards, and the configuration and tokenizer that stand in the
    /// source's folder. It must not be there yet. Shards gather in <c>TARGET.partial</c>, where a run that was interrupted is taken up.
    /// </param>
    /// <param name="progress">Is told after each part.</param>
    /// <param name="cancellation">Stops it; whole shards stay, for the next run.</param>
    /// <exception cref="CheckpointException">It cannot be read, followed or written, or has weights that are not finite; nothing is left under the target's name.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public void Run(Checkpoint source, string target, IProgress<CheckpointProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentException.ThrowIfNullOrEmpty(target);
        var plan = Plan(source);
        var metadata = Metadata(source, plan);
        var tracker = new Tracker(plan.BytesBefore, progress);
        if (target.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase))
        {
            PartialFolder.CheckFree(source, target);
            WriteShard(source, target, plan.Tensors, metadata, tracker, cancellation);
            return;
        }

        var folder = new PartialFolder(source, target);
        var shards = ShardedFolder.Plan(plan.Tensors, t => t.BytesAfter, MaxShardSize);
        for (int i = 0; i < shards.Count; i++)
        {
            var name = ShardedFolder.FileName(i, shards.Count);
            if (folder.Has(name, [.. shards[i].SelectMany(t => t.Outputs)], metadata))
                tracker.Skip(shards[i]);
            else
                WriteShard(source, Path.Combine(folder.Path, name), shards[i], metadata, tracker, cancellation);
        }

        if (shards.Count > 1)
            ShardedFolder.WriteIndex(folder.Path, shards.SelectMany((s, i) => s.SelectMany(t => t.Outputs).Select(o => (o, ShardedFolder.FileName(i, shards.Count)))));
        folder.Complete(source);
    }

    /// <summary>Quantizes a checkpoint again and compares the result with one that was written before, byte by byte.</summary>
    /// <param name="source">The checkpoint.</param>
    /// <param name="target">What <see cref="Run"/> wrote with the same settings.</param>
    /// <param name="progress">Is told after each part.</param>
    /// <param name="cancellation">Stops it.</param>
    /// <exception cref="CheckpointException">They differ; the message names the tensor.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public void Verify(Checkpoint source, string target, IProgress<CheckpointProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentException.ThrowIfNullOrEmpty(target);
        using var written = Checkpoint.Open(target);
        var plan = Plan(source);
        foreach (var output in plan.Tensors.SelectMany(t => t.Outputs))
        {
            if (!written.Contains(output.Name) || written.Entry(output.Name) is var entry && (entry.Dtype != output.Dtype || !entry.Shape.SequenceEqual(output.Shape)))
                throw new CheckpointException($"{CheckpointException.Quote(target)} should have the tensor {output}, and does not. Quantize it again.");
        }

        Process(source, plan.Tensors, new Tracker(plan.BytesBefore, progress), cancellation, (name, bytes, offset) =>
        {
            var there = new byte[bytes.Length];
            written.ReadBytes(name, there, offset);
            if (!bytes.SequenceEqual(there))
                throw new CheckpointException($"Tensor {CheckpointException.Quote(name)} of {CheckpointException.Quote(target)} is not what quantizing {CheckpointException.Quote(source.Path)} gives. Quantize it again.");
        });
    }

    private void WriteShard(Checkpoint source, string path, IReadOnlyList<PlannedTensor> tensors, IReadOnlyDictionary<string, string> metadata, Tracker tracker, CancellationToken cancellation)
    {
        using var writer = SafetensorsWriter.Create(path, tensors.SelectMany(t => t.Outputs), metadata);
        Process(source, tensors, tracker, cancellation, writer.Write);
        writer.Complete();
    }

    private void Process(Checkpoint source, IReadOnlyList<PlannedTensor> tensors, Tracker tracker, CancellationToken cancellation, ChunkSink sink)
    {
        var chunks = new TensorChunks(source, ComputeDtype, sink);
        ParallelWork.Run(tensors.SelectMany(TensorChunks.Cut), Threads, cancellation, chunk => tracker.Add(chunk.Planned.Tensor.Name, chunks.Process(chunk)));
    }

    private Dictionary<string, string> Metadata(Checkpoint source, CheckpointQuantizationPlan plan)
    {
        var manifest = new QwixManifest(_rules, plan.Tensors.Where(t => t.Quantization is not null).ToDictionary(t => t.Tensor.Name, t => QwixTensorInfo.Of(t.Tensor.Shape, t.Quantization!, t.Rule!.WeightCalibrationMethod, t.Rule.WeightScaleDtype is null ? null : ComputeDtype ?? t.Tensor.Dtype)));
        return new Dictionary<string, string>(source.Format == "safetensors" ? source.Metadata : new Dictionary<string, string>()) { ["format"] = "pt", [QwixManifest.Key] = manifest.ToJson() };
    }

    /// <summary>Counts what is done. Safe for several threads.</summary>
    private sealed class Tracker(long total, IProgress<CheckpointProgress>? progress)
    {
        private long _done;

        internal void Add(string tensor, long bytes) => progress?.Report(new CheckpointProgress(tensor, Interlocked.Add(ref _done, bytes), total));

        internal void Skip(IReadOnlyList<PlannedTensor> tensors) => Add(tensors[^1].Tensor.Name, tensors.Sum(t => t.BytesBefore));
    }
}
