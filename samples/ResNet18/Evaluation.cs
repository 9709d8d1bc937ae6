using QwixSharp.Samples.Common;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Samples.ResNet18;

/// <summary>What one network gave: the features of all images, how well they tell digits apart, and what it cost.</summary>
/// <param name="Scheme">The name of the scheme.</param>
/// <param name="Bytes">The size of all that the model holds.</param>
/// <param name="Features">float32, <c>[test images, 512]</c>.</param>
/// <param name="Accuracy">The part of the test images that are nearest to the mean of their own digit, from 0 to 1.</param>
/// <param name="Milliseconds">The time for an image: the median over the batches.</param>
internal sealed record Outcome(string Scheme, long Bytes, Tensor Features, double Accuracy, double Milliseconds)
{
    /// <summary>Runs the network over all images.</summary>
    /// <param name="scheme">The name of the scheme.</param>
    /// <param name="network">The network, quantized or not.</param>
    /// <param name="images">What to run it on.</param>
    /// <param name="report">Receives the part that is done, from 0 to 1.</param>
    public static Outcome Of(string scheme, Module<Tensor, Tensor> network, ImageSet images, Action<double> report)
    {
        using var noGrad = no_grad();
        network.call(images.Batches[0]).Dispose();

        var timing = new Timing();
        using var scope = NewDisposeScope();
        var parts = new List<Tensor>();
        foreach (var batch in images.Batches)
        {
            parts.Add(timing.Run(() => network.call(batch), (int)batch.size(0)));
            report((double)parts.Count / images.Batches.Count);
        }

        var features = cat(parts, 0);
        var test = features[TensorIndex.Slice(images.FitLabels.Count)].clone();
        var accuracy = NearestMeanAccuracy(features[TensorIndex.Slice(stop: images.FitLabels.Count)], images.FitLabels, test, images.TestLabels);
        return new Outcome(scheme, BytesOf(network), test.MoveToOuterDisposeScope(), accuracy, timing.Median);
    }

    /// <summary>Classifies by the nearest class mean, in the angle between features.</summary>
    private static double NearestMeanAccuracy(Tensor fit, IReadOnlyList<long> fitLabels, Tensor test, IReadOnlyList<long> testLabels)
    {
        var belongs = functional.one_hot(tensor(fitLabels.ToArray())).to(float32);
        var means = functional.normalize(matmul(belongs.t(), functional.normalize(fit, dim: -1)), dim: -1);
        var guesses = matmul(test, means.t()).argmax(-1).data<long>().ToArray();
        return guesses.Zip(testLabels).Count(pair => pair.First == pair.Second) / (double)testLabels.Count;
    }

    private static long BytesOf(Module model) => model.state_dict().Values.Sum(t => t.NumberOfElements * t.ElementSize);
}
