using static TorchSharp.torch;

namespace QwixSharp.Samples.Common;

/// <summary>Trains and judges networks on the handwritten digits.</summary>
/// <param name="batchSize">Images a step.</param>
/// <param name="shape">The shape of one image as the network takes it, such as <c>[1, 8, 8]</c> or <c>[64]</c>.</param>
public sealed class DigitsTraining(int batchSize, params long[] shape)
{
    private readonly (HandwrittenDigits Training, HandwrittenDigits Test) _digits = HandwrittenDigits.Read();

    /// <summary>Some images, as an example of an input.</summary>
    public Tensor Example => Images(_digits.Training.Pixels.narrow(0, 0, 2));

    /// <summary>How many images it judges by.</summary>
    public long TestImages => _digits.Test.Labels.shape[0];

    /// <summary>Trains with Adam on batches in an order that the seed decides.</summary>
    /// <param name="network">The network; it is left in evaluation mode.</param>
    /// <param name="epochs">How often it sees each image.</param>
    /// <param name="learningRate">The learning rate.</param>
    /// <param name="seed">Decides the order of the images.</param>
    /// <param name="afterEpoch">Is told the number of epochs done and the mean loss of the last.</param>
    public void Train(nn.Module<Tensor, Tensor> network, int epochs, double learningRate, int seed, Action<int, double>? afterEpoch = null)
    {
        using var optimizer = optim.Adam(network.parameters(), lr: learningRate);
        var order = new Random(seed);
        long count = _digits.Training.Labels.shape[0];
        for (int epoch = 1; epoch <= epochs; epoch++)
        {
            network.train();
            long[] shuffled = [.. Enumerable.Range(0, (int)count).Select(i => (long)i)];
            order.Shuffle(shuffled);
            var losses = shuffled.Chunk(batchSize).Select(chosen => Step(network, optimizer, chosen)).ToList();
            network.eval();
            afterEpoch?.Invoke(epoch, losses.Average());
        }
    }

    /// <summary>The part of the test images that a network tells right, from 0 to 1.</summary>
    public double Accuracy(nn.Module<Tensor, Tensor> network)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        network.eval();
        return network.call(Images(_digits.Test.Pixels)).argmax(-1).eq(_digits.Test.Labels).to(float32).mean().item<float>();
    }

    private double Step(nn.Module<Tensor, Tensor> network, optim.Optimizer optimizer, long[] chosen)
    {
        using var scope = NewDisposeScope();
        var indices = tensor(chosen);
        optimizer.zero_grad();
        var loss = nn.functional.cross_entropy(network.call(Images(_digits.Training.Pixels.index_select(0, indices))), _digits.Training.Labels.index_select(0, indices));
        loss.backward();
        optimizer.step();
        return loss.item<float>();
    }

    private Tensor Images(Tensor pixels) => (pixels / HandwrittenDigits.Ink).reshape([pixels.shape[0], .. shape]);
}
