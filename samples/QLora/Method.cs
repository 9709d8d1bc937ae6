using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Samples.Common;

namespace QwixSharp.Samples.QLora;

/// <summary>A way of teaching the encoder a task.</summary>
/// <param name="Name">Its name.</param>
/// <param name="LearningRate">The learning rate at the start.</param>
/// <param name="Make">Makes the classifier, for a number of labels and an example of the input.</param>
internal sealed record Method(string Name, double LearningRate, Func<int, TextBatch, Classifier> Make)
{
    // Half of the model are its embedding tables; int8 is good enough for them.
    private static readonly QuantizationRule[] Rules =
    [
        new LoraRule { ModulePath = @"layers\.\d+\.\w+", Rank = 16, Alpha = 32, WeightQType = "nf4", TileSize = 64, OpNames = [OpNames.DotGeneral] },
        new QuantizationRule { ModulePath = ".*_embeddings", WeightQType = "int8" },
    ];

    /// <summary>From the least to train to the most.</summary>
    public static IReadOnlyList<Method> All { get; } =
    [
        new("frozen encoder", 1e-2, (labels, _) => new Classifier(MiniLM.Load(), labels, trainsEncoder: false)),
        new("QLoRA, nf4 tile 64, rank 16", 2e-3, (labels, example) => new Classifier(QLora(example), labels, trainsEncoder: true)),
        new("full fine-tuning", 2e-4, (labels, _) => new Classifier(MiniLM.Load(), labels, trainsEncoder: true)),
    ];

    /// <summary>The one call that gives the encoder adapters on a quantized base, and one that frees the base's floating-point weights.</summary>
    private static LoraModule<TorchSharp.torch.Tensor, TorchSharp.torch.Tensor, TorchSharp.torch.Tensor> QLora(TextBatch example)
    {
        var lora = Qwix.ApplyLora(MiniLM.Load(), new LoraProvider(Rules), example.Ids, example.Mask);
        lora.ReleaseOriginalWeights();
        return lora;
    }
}
