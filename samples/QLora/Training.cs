using Microsoft.ML.Tokenizers;
using QwixSharp.Samples.Common;
using static TorchSharp.torch;

namespace QwixSharp.Samples.QLora;

/// <summary>What came of a training.</summary>
/// <param name="Method">The method.</param>
/// <param name="Accuracy">The accuracy on the test texts, from 0 to 1.</param>
/// <param name="Trained">How many numbers were trained.</param>
/// <param name="MillisecondsPerStep">The median time of a step.</param>
/// <param name="PeakBytes">The most memory that the model and steps on the longest texts had at once.</param>
internal sealed record Outcome(Method Method, double Accuracy, long Trained, double MillisecondsPerStep, long PeakBytes);

/// <summary>Trains classifiers on a task, all on the same batches in the same order.</summary>
internal sealed class Training(TextTask task, BertTokenizer tokenizer, int steps, LearningCurves curves)
{
    private const int BatchSize = 16;
    private const int Seed = 1;
    private const int Evaluations = 4;
    private const int WatchedSteps = 2;

    /// <summary>Trains by one method.</summary>
    /// <param name="method">The method.</param>
    /// <param name="report">Is told the part that is done.</param>
    public Outcome Run(Method method, Action<double> report)
    {
        using var example = Batch(task.Training.Take(2));
        long peak = MeasureMemory(method, example);
        manual_seed(Seed);
        using var model = method.Make(task.Labels.Count, example);
        using var optimizer = optim.AdamW(model.Trainable, lr: method.LearningRate);
        var schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max: steps);
        var time = new Timing();
        var order = new Random(Seed);
        LabelledText[] examples = [.. task.Training], glance = [.. task.Test.Where((_, i) => i % 3 == 0)];
        double loss = 0;
        for (int step = 1; step <= steps; step++)
        {
            var texts = order.GetItems(examples, BatchSize);
            double current = time.Run(() => Step(model, optimizer, texts));
            schedule.step();
            loss = step == 1 ? current : (0.9 * loss) + (0.1 * current);
            curves.AddLoss(method.Name, step, loss);
            if (step % Math.Max(1, steps / Evaluations) == 0)
                curves.AddAccuracy(method.Name, step, Accuracy(model, glance));
            report((double)step / steps);
        }

        return new Outcome(method, Accuracy(model, task.Test), model.Trainable.Sum(p => p.NumberOfElements), time.Median, peak);
    }

    /// <summary>The peak of a model and an optimizer of its own: two steps, since gradients lie in memory from the first on.</summary>
    private long MeasureMemory(Method method, TextBatch example)
    {
        LabelledText[] longest = [.. task.Training.OrderByDescending(t => t.Text.Length).Take(BatchSize)];
        using var memory = new PeakMemory();
        using var model = method.Make(task.Labels.Count, example);
        // What loading alone needs is not the training's.
        memory.Restart();
        using var optimizer = optim.AdamW(model.Trainable, lr: method.LearningRate);
        for (int step = 0; step < WatchedSteps; step++)
            Step(model, optimizer, longest, memory);
        return memory.Bytes;
    }

    private double Step(Classifier model, optim.Optimizer optimizer, LabelledText[] texts, PeakMemory? memory = null)
    {
        using var scope = NewDisposeScope();
        using var batch = Batch(texts);
        model.train();
        optimizer.zero_grad();
        var loss = nn.functional.cross_entropy(model.call(batch.Ids, batch.Mask), tensor(texts.Select(t => (long)t.Label).ToArray()));
        memory?.Sample();
        loss.backward();
        optimizer.step();
        memory?.Sample();
        return loss.item<float>();
    }

    private double Accuracy(Classifier model, IReadOnlyList<LabelledText> texts)
    {
        using var noGrad = no_grad();
        model.eval();
        long right = 0;
        // Texts of like length share a batch, which then has little filling.
        foreach (var chunk in texts.OrderBy(t => t.Text.Length).Chunk(BatchSize))
        {
            using var scope = NewDisposeScope();
            using var batch = Batch(chunk);
            right += model.call(batch.Ids, batch.Mask).argmax(-1).eq(tensor(chunk.Select(t => (long)t.Label).ToArray())).sum().item<long>();
        }

        return (double)right / texts.Count;
    }

    private TextBatch Batch(IEnumerable<LabelledText> texts) => new(tokenizer, [.. texts.Select(t => t.Text)]);
}
