using Microsoft.ML.Tokenizers;
using QwixSharp.Samples.Common;
using QwixSharp.Samples.Quickstart;
using static TorchSharp.torch;

const int BatchSize = 8;

BertTokenizer tokenizer = null!;
BertEncoder encoder = null!;
List<TextBatch> singly = [];
List<TextBatch> batched = [];
List<Outcome> outcomes = [];

List<(string Title, Action<Action<double>> Work)> steps =
[
    ("Read all-MiniLM-L6-v2 out of its package", _ =>
    {
        using var vocabulary = MiniLM.OpenVocabulary();
        tokenizer = BertTokenizer.Create(vocabulary, new BertOptions { RemoveNonSpacingMarks = true });
        encoder = MiniLM.Load();
        singly.AddRange(Sentences.All.Select(sentence => new TextBatch(tokenizer, [sentence])));
        batched.AddRange(Sentences.All.Chunk(BatchSize).Select(texts => new TextBatch(tokenizer, texts)));
    }),
    ("Embed with float32 weights", report => outcomes.Add(Outcome.Of("fp32", encoder, singly, batched, report))),
];
steps.AddRange(Schemes.All.Select(scheme => ($"Quantize and embed: {scheme.Name}", (Action<Action<double>>)(report =>
{
    using var quantized = Schemes.Quantize(encoder, scheme.Rule, batched[0]);
    outcomes.Add(Outcome.Of(scheme.Name, quantized, singly, batched, report));
}))));
StepProgress.Run(steps);

var reference = outcomes[0].Embeddings;
var table = new ResultTable(
    $"all-MiniLM-L6-v2 on {Sentences.All.Count} sentences",
    "scheme", "weight bytes", "cosine to fp32", "SNR (dB)", "ms a sentence", $"ms, batches of {BatchSize}");
foreach (var outcome in outcomes)
{
    table.Add(
        outcome.Scheme,
        ResultTable.Bytes(outcome.Bytes),
        ResultTable.Number(Fidelity.MeanCosine(reference, outcome.Embeddings), 5),
        ResultTable.Number(Fidelity.SignalToNoise(reference, outcome.Embeddings), 1),
        ResultTable.Number(outcome.MillisecondsSingly, 2),
        ResultTable.Number(outcome.MillisecondsBatched, 2));
}

table.Write();

using var similarity = matmul(reference, reference.t()) - 2 * eye(reference.size(0));
using var nearest = similarity.argmax(-1);
Console.WriteLine("Nearest sentences, by the fp32 embeddings:");
foreach (var i in new[] { 0, 4, 7 })
    Console.WriteLine($"  {Sentences.All[i]}\n    -> {Sentences.All[(int)nearest[i].item<long>()]}");
