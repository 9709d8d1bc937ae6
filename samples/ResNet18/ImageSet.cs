using static TorchSharp.torch;

namespace QwixSharp.Samples.ResNet18;

/// <summary>The images in batches, those that class means are made of first, then those to classify.</summary>
/// <param name="Batches">float32, <c>[batch, 3, 224, 224]</c> each, as the network takes them.</param>
/// <param name="FitLabels">The digits on the images of the first part.</param>
/// <param name="TestLabels">The digits on the images of the second part.</param>
internal sealed record ImageSet(IReadOnlyList<Tensor> Batches, IReadOnlyList<int> FitLabels, IReadOnlyList<int> TestLabels)
{
    /// <summary>Reads the digits and prepares them.</summary>
    public static ImageSet Load(int batchSize)
    {
        using var meanImage = PretrainedResNet18.LoadMeanImage();
        var (fit, test) = (Digits.Read("fit"), Digits.Read("test"));
        return new ImageSet([.. fit.Batches(meanImage, batchSize), .. test.Batches(meanImage, batchSize)], fit.Labels, test.Labels);
    }
}
