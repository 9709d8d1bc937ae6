using QwixSharp.Samples.Common;
using QwixSharp.Samples.ResNet18;

const int BatchSize = 10;

ResNet18 network = null!;
ImageSet images = null!;
List<Outcome> outcomes = [];

List<(string Title, Action<Action<double>> Work)> steps =
[
    ("Read ResNet-18 out of its package, and the images", _ =>
    {
        network = PretrainedResNet18.Load();
        images = ImageSet.Load(BatchSize);
    }),
    ("Run with float32 weights", report => outcomes.Add(Outcome.Of("fp32", network, images, report))),
];
steps.AddRange(Schemes.All.Select(scheme => ($"Quantize and run: {scheme.Name}", (Action<Action<double>>)(report =>
{
    using var quantized = Schemes.Quantize(network, scheme.Rule, images.Batches[0]);
    outcomes.Add(Outcome.Of(scheme.Name, quantized, images, report));
}))));
StepProgress.Run(steps);

var reference = outcomes[0].Features;
var table = new ResultTable(
    $"ResNet-18 features of {images.TestLabels.Count} handwritten digits",
    "scheme", "weight bytes", "cosine to fp32", "SNR (dB)", "accuracy", $"ms an image, batches of {BatchSize}");
foreach (var outcome in outcomes)
{
    table.Add(
        outcome.Scheme,
        ResultTable.Bytes(outcome.Bytes),
        ResultTable.Number(Fidelity.MeanCosine(reference, outcome.Features), 5),
        ResultTable.Number(Fidelity.SignalToNoise(reference, outcome.Features), 1),
        ResultTable.Number(100 * outcome.Accuracy, 0) + " %",
        ResultTable.Number(outcome.Milliseconds, 1));
}

table.Write();
Console.WriteLine($"Accuracy: a digit counts as told if its features are nearest to the mean of that digit's, taken over {images.FitLabels.Count / 10} other images of each.");
