using QwixSharp.Samples.Common;
using static TorchSharp.torch;

namespace QwixSharp.Samples.ResNet18;

/// <summary>The images in batches, those that class means are made of first, then those to classify.</summary>
/// <param name="Batches">float32, <c>[batch, 3, 224, 224]</c> each, as the network takes them.</param>
/// <param name="FitLabels">The digits on the images of the first part.</param>
/// <param name="TestLabels">The digits on the images of the second part.</param>
internal sealed record ImageSet(IReadOnlyList<Tensor> Batches, IReadOnlyList<long> FitLabels, IReadOnlyList<long> TestLabels)
{
    private const int FitPerDigit = 4;
    private const int TestPerDigit = 6;

    /// <summary>Chooses some digits and prepares them.</summary>
    public static ImageSet Load(int batchSize)
    {
        using var meanImage = PretrainedResNet18.LoadMeanImage();
        var (training, test) = HandwrittenDigits.Read();
        var (fit, judged) = (training.FirstOfEach(FitPerDigit), test.FirstOfEach(TestPerDigit));
        return new ImageSet(
            [.. Digits.Batches(fit, meanImage, batchSize), .. Digits.Batches(judged, meanImage, batchSize)],
            fit.Labels.data<long>().ToArray(), judged.Labels.data<long>().ToArray());
    }
}
