using QwixSharp.LiteRT.Tests.Runtime;
using QwixSharp.Providers;
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

    /// <summary>One layer, with the embeddings before it and the pooling after it.</summary>
    [Fact]
    public void ALayerWithItsWeightsAgrees()
    {
        using var scope = NewDisposeScope();
        var (expected, result, _, output, file) = Run(layers: 1, texts: 8);
        OnDevice.Compare(expected, result, output, file);
    }

    /// <summary>
    /// All six: embeddings are compared, not codes, of which from the second layer on some differ for some texts. After the first layer most hidden
    /// states have one of three codes, since outliers take the others; a layer norm hands a code that differs on to its whole token. Where the first
    /// one differs is not known.
    /// </summary>
    [Fact]
    public void TheEncoderWithItsWeightsAgrees()
    {
        using var scope = NewDisposeScope();
        var (expected, result, reference, output, file) = Run(layers: 6, texts: 16);
        var embeddings = (result.to(ScalarType.Float32) - output.Quantization!.ZeroPoints[0]) * output.Quantization.Scales[0];
        var (toModel, toFloat) = (nn.functional.cosine_similarity(embeddings, expected, dim: 1), nn.functional.cosine_similarity(embeddings, reference, dim: 1));
        double parameters = new BertEncoder(new BertSize()).parameters().Sum(p => p.NumberOfElements);
        TestContext.Current.TestOutputHelper?.WriteLine($"cosine to the conversion model: least {toModel.min().item<float>():F4}; to floating point: mean {toFloat.mean().item<float>():F4}, least {toFloat.min().item<float>():F4}; {file.Length / parameters:F3} bytes a parameter; {string.Join(' ', file.Subgraphs[0].Operators.CountBy(o => o.Name))}");
        Assert.InRange(file.Length / parameters, 0, 1.05);
        Assert.InRange(toModel.min().item<float>(), 0.95f, 1.001f);
    }

    /// <summary>Calibrates on half of the texts, and gives what the conversion model, the file and floating point make of the others.</summary>
    private (Tensor Expected, Tensor Result, Tensor Reference, LiteRtTensor Output, LiteRtModel File) Run(int layers, int texts)
    {
        using var pretrained = MiniLM.Load();
        var encoder = new BertEncoder(new BertSize(Layers: layers));
        var weights = pretrained.state_dict();
        using (no_grad())
        {
            foreach (var (name, parameter) in encoder.named_parameters())
                parameter.copy_(weights[name]);
        }

        encoder.eval();
        (Tensor Ids, Tensor Mask)[] tokens = [.. Tokenize().Take(texts)];
        var rules = OnDevice.Static();
        using var training = Qwix.QuantizeModel(encoder, new OdmlQatProvider(rules), tokens[0].Ids, tokens[0].Mask);
        training.train();
        foreach (var (ids, mask) in tokens.Take(texts / 2))
            training.call(ids, mask).Dispose();
        training.eval();
        using var converted = Qwix.QuantizeModel(encoder, new OdmlConversionProvider(rules, encoder.state_dict(), training.QuantStats), tokens[0].Ids, tokens[0].Mask);
        var path = Path.Combine(Path.GetTempPath(), $"qwixsharp-{Guid.NewGuid():N}.tflite");
        try
        {
            LiteRtConverter.Convert(converted, [tokens[0].Ids, tokens[0].Mask], new LiteRtOptions()).Export(path);
            var file = LiteRtModel.Open(path);
            var others = tokens[(texts / 2)..];
            return (
                cat([.. others.Select(t => converted.call(t.Ids, t.Mask))]),
                cat([.. others.Select(t => runtime.Run(path, [t.Ids, t.Mask])[0].ToTensor())]),
                cat([.. others.Select(t => encoder.call(t.Ids, t.Mask))]),
                file.Subgraphs[0].Tensors[file.Subgraphs[0].Outputs[0]],
                file);
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>Texts of words that are tokens.</summary>
    private static IEnumerable<(Tensor Ids, Tensor Mask)> Tokenize()
    {
        using var reader = new StreamReader(MiniLM.OpenVocabulary());
        var vocabulary = reader.ReadToEnd().Split('\n').Select((token, id) => (Token: token.TrimEnd('\r'), Id: (long)id)).ToDictionary(t => t.Token, t => t.Id);
        foreach (var sentence in Sentences)
        {
            long[] ids = [vocabulary["[CLS]"], .. sentence.Split(' ').Select(word => vocabulary[word]), vocabulary["[SEP]"]];
            long[] filling = new long[Length - ids.Length];
            yield return (tensor((long[])[.. ids, .. filling]).unsqueeze(0), tensor((long[])[.. ids.Select(_ => 1L), .. filling]).unsqueeze(0));
        }
    }
}
