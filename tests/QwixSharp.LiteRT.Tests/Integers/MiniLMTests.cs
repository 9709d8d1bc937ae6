using QwixSharp.LiteRT.Tests.Export;
using QwixSharp.LiteRT.Tests.Runtime;
using QwixSharp.Samples.Common;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Integers;

/// <summary>MiniLM with its weights, calibrated on sentences.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class MiniLMTests(LiteRtRuntime runtime)
{
    private const int Length = 16;

    /// <summary>Half of them for calibration, half to compare.</summary>
    private static readonly string[] Sentences =
    [
        "the weather is lovely today and the sun is out", "he drove his old car to the stadium", "a man is playing the guitar on a stage", "the bank raised its interest rates again",
        "she bought fresh bread and milk at the market", "the train to london leaves at nine", "scientists found water under the ice of the moon", "my computer does not start any more",
        "it is warm and bright outside this morning", "the football match ended without a goal", "two children are reading a book in the garden", "prices went up because of the war",
        "we cooked rice with fish and green vegetables", "the flight was late because of the snow", "a new planet was discovered far away from the sun", "please send me the report before friday",
    ];

    /// <summary>One code that differs would spread: a layer norm hands it on to its whole token, attention to all.</summary>
    [Fact]
    public void TheEncoderWithItsWeightsAgrees()
    {
        using var scope = NewDisposeScope();
        var (expected, _, result, output, file) = Run("int8");
        OnDevice.Compare(expected, result, output, file);
    }

    /// <summary>
    /// int8 has too few codes for hidden states of which a few are far out; int16 has enough. Layer norms are computed in floating point, whose last bits
    /// decide at 65,536 codes, so that it is the embeddings which agree.
    /// </summary>
    [Fact]
    public void Int16ActivationsKeepTheEmbeddings()
    {
        using var scope = NewDisposeScope();
        var (expected, floats, result, output, _) = Run("int16");
        var embeddings = (result.to(ScalarType.Float32) - output.Quantization!.ZeroPoints[0]) * output.Quantization.Scales[0];
        float Least(Tensor others) => nn.functional.cosine_similarity(embeddings, others, dim: 1).min().item<float>();
        TestContext.Current.TestOutputHelper?.WriteLine($"cosine to the conversion model {Least(expected):F6}, to floating point {Least(floats):F6}");
        Assert.InRange(Least(expected), 0.9999f, 1.001f);
        Assert.InRange(Least(floats), 0.99f, 1.001f);
    }

    /// <summary>Calibrates on half of the texts, and gives what the conversion model, floating point and the file make of the others.</summary>
    private (Tensor Expected, Tensor Floats, Tensor Result, LiteRtTensor Output, LiteRtModel File) Run(string activations)
    {
        using var encoder = MiniLM.Load();
        // All at once: what a model does to its weights, it does in every call.
        var (known, others) = (Tokenize(Sentences[..8]), Tokenize(Sentences[8..]));
        var (converted, training) = OnDevice.Convert(encoder, [known], OnDevice.Static(activations: activations));
        using var both = training;
        using var owned = converted;
        var path = Path.Combine(Path.GetTempPath(), $"qwixsharp-{Guid.NewGuid():N}.tflite");
        try
        {
            LiteRtConverter.Convert(converted, others, new LiteRtOptions()).Export(path);
            var file = LiteRtModel.Open(path);
            Assert.InRange(file.Length / (double)encoder.parameters().Sum(p => p.NumberOfElements), 0, 1.05);
            var output = file.Subgraphs[0].Tensors[file.Subgraphs[0].Outputs[0]];
            var (newer, older) = runtime.RunInBoth(path, [others]);
            var expected = Exported.Call(converted, others).Single();
            SecondOpinion.Check(file, older, (outputs, bar) => OnDevice.Compare(expected, outputs[0][0].ToTensor(), output, file, bar));
            return (expected, Exported.Call(encoder, others).Single(), newer[0][0].ToTensor(), output, file);
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>Texts of words that are tokens: the numbers of these, and which are of the text rather than filling.</summary>
    private static Tensor[] Tokenize(string[] sentences)
    {
        using var reader = new StreamReader(MiniLM.OpenVocabulary());
        var vocabulary = reader.ReadToEnd().Split('\n').Select((token, id) => (Token: token.TrimEnd('\r'), Id: (long)id)).ToDictionary(t => t.Token, t => t.Id);
        var ids = stack([.. sentences.Select(sentence =>
        {
            long[] tokens = [vocabulary["[CLS]"], .. sentence.Split(' ').Select(word => vocabulary[word]), vocabulary["[SEP]"]];
            return tensor((long[])[.. tokens, .. new long[Length - tokens.Length]]);
        })]);
        // The older runtime has no access to int64.
        return [ids.to(ScalarType.Int32), ids.ne(vocabulary["[PAD]"]).to(ScalarType.Int32)];
    }
}
