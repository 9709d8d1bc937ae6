using QwixSharp.LiteRT.Tests.Integers;
using QwixSharp.LiteRT.Tests.Runtime;
using QwixSharp.Providers;
using QwixSharp.Samples.Common;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Models;

/// <summary>The whole way: a network is trained, trained on for a device, converted, exported, and run.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class DigitsTests(LiteRtRuntime runtime)
{
    [Fact]
    public void TheFileIsAsAccurateAsTheModel()
    {
        using var scope = NewDisposeScope();
        manual_seed(5);
        var (fit, test) = HandwrittenDigits.Read();
        var (images, labels, testImages, testLabels) = (fit.Pixels / HandwrittenDigits.Ink, fit.Labels, test.Pixels / HandwrittenDigits.Ink, test.Labels);
        var network = nn.Sequential(
            ("conv0", nn.Conv2d(1, 16, 3, padding: 1)), ("relu0", nn.ReLU()), ("pool0", nn.MaxPool2d(2)),
            ("conv1", nn.Conv2d(16, 32, 3, padding: 1)), ("relu1", nn.ReLU()), ("pool1", nn.MaxPool2d(2)),
            ("flatten", nn.Flatten()), ("fc0", nn.Linear(128, 64)), ("relu2", nn.ReLU()), ("fc1", nn.Linear(64, 10)));
        Train(network, images, labels, epochs: 12, rate: 3e-3);

        var rules = OnDevice.Static();
        using var qat = Qwix.QuantizeModel(network, new OdmlQatProvider(rules), testImages);
        Train(qat, images, labels, epochs: 1, rate: 2e-4);
        using var converted = Qwix.QuantizeModel(network, new OdmlConversionProvider(rules, network.state_dict(), qat.QuantStats), testImages);

        var path = Path.GetTempFileName();
        try
        {
            LiteRtConverter.Convert(converted, testImages).Export(path);
            var file = LiteRtModel.Open(path);
            var graph = file.Subgraphs[0];
            Assert.Equal(["RESHAPE", "CONV_2D", "MAX_POOL_2D", "CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "FULLY_CONNECTED"], graph.Operators.Select(o => o.Name));
            var (newer, older) = runtime.RunInBoth(path, [[OnDevice.Codes(testImages, graph.Tensors[graph.Inputs[0]])]]);
            var codes = newer[0][0].ToTensor();
            var expected = converted.call(testImages);
            OnDevice.Compare(expected, codes, graph.Tensors[graph.Outputs[0]], file);
            SecondOpinion.Check(file, older, (outputs, bar) => OnDevice.Compare(expected, outputs[0][0].ToTensor(), graph.Tensors[graph.Outputs[0]], file, bar));
            double onDevice = Accuracy(codes, testLabels), inTraining = Accuracy(qat.call(testImages), testLabels);
            TestContext.Current.TestOutputHelper?.WriteLine($"file {onDevice:P2}, training model {inTraining:P2}, floating point {Accuracy(network.call(testImages), testLabels):P2}");
            Assert.Equal(inTraining, onDevice, 3);
            Assert.True(onDevice > 0.98, $"{onDevice:P2}");
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static void Train(nn.Module<Tensor, Tensor> model, Tensor images, Tensor labels, int epochs, double rate)
    {
        model.train();
        using var optimizer = optim.Adam(model.parameters(), lr: rate);
        for (int epoch = 0; epoch < epochs; epoch++)
        {
            foreach (var batch in randperm(images.shape[0]).split(64))
            {
                using var scope = NewDisposeScope();
                optimizer.zero_grad();
                nn.functional.cross_entropy(model.call(images[batch]), labels[batch]).backward();
                optimizer.step();
            }
        }

        model.eval();
    }

    private static double Accuracy(Tensor scores, Tensor labels)
    {
        using var noGradient = no_grad();
        return scores.to(ScalarType.Float32).argmax(1).eq(labels).to(ScalarType.Float64).mean().item<double>();
    }
}
