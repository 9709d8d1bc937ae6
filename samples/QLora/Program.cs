using System.Globalization;
using Microsoft.ML.Tokenizers;
using QwixSharp.Samples.Common;
using QwixSharp.Samples.QLora;

const string Usage = """
    Teaches all-MiniLM-L6-v2 to tell texts apart: QLoRA against full fine-tuning and against a frozen encoder.

      --data FILE.tsv   a task of your own: a label, a tab and a text on each line (default: .NET's own API)
      --steps N         how long each method trains (default: 300)
      --plot FILE.png   where the learning curves go (default: qlora.png)
    """;

string? data = null;
var plot = "qlora.png";
var steps = 300;
for (var i = 0; i < args.Length; i += 2)
{
    switch (args[i], i + 1 < args.Length ? args[i + 1] : null)
    {
        case ("--data", { } file):
            data = file;
            break;
        case ("--plot", { } file):
            plot = file;
            break;
        case ("--steps", { } number) when int.TryParse(number, CultureInfo.InvariantCulture, out var count) && count > 0:
            steps = count;
            break;
        default:
            Console.WriteLine(Usage);
            return args[i] is "--help" or "-h" ? 0 : 1;
    }
}

var task = data is null ? DotNetApi.Read() : TextTask.FromFile(data);
Console.WriteLine($"{task.Training.Count} texts to learn from and {task.Test.Count} to test, {task.Labels.Count} labels. For example:");
foreach (var example in task.Test.DistinctBy(t => t.Label).Take(3))
    Console.WriteLine($"  {task.Labels[example.Label]}: {example.Text}");

using var vocabulary = MiniLM.OpenVocabulary();
var tokenizer = BertTokenizer.Create(vocabulary, new BertOptions { RemoveNonSpacingMarks = true });
MiniLM.Load().Dispose(); // what the libraries themselves need is no method's memory
var curves = new LearningCurves("all-MiniLM-L6-v2 learns a text task");
var training = new Training(task, tokenizer, steps, curves);
List<Outcome> outcomes = [];
StepProgress.Run([.. Method.All.Select(method => ($"Train: {method.Name}", (Action<Action<double>>)(report => outcomes.Add(training.Run(method, report)))))]);

var table = new ResultTable($"After {steps} steps", "method", "accuracy (%)", "trained numbers", "ms a step", "peak memory (MB)");
foreach (var outcome in outcomes)
{
    table.Add(
        outcome.Method.Name,
        ResultTable.Number(100 * outcome.Accuracy, 1),
        ResultTable.Bytes(outcome.Trained),
        ResultTable.Number(outcome.MillisecondsPerStep, 0),
        ResultTable.Number(outcome.PeakBytes / 1e6, 0));
}

table.Write();
Console.WriteLine($"Learning curves: {curves.Save(plot)}");
return 0;
