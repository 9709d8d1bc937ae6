using QwixSharp.Calibration;
using QwixSharp.Providers;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers.Odml;

/// <summary>TorchSharp counts the tensors of a thread that were made and not disposed: none may be left over.</summary>
public class OdmlLeakTests
{
    [Fact]
    public void NothingIsLeftOfTrainingAndConversion()
    {
        using var model = Sequential(("conv", Conv2d(3, 4, 3)), ("norm", BatchNorm2d(4)), ("act", SiLU()), ("pool", AvgPool2d(2)), ("flat", Flatten()), ("fc", Linear(36, 4)), ("soft", Softmax(1)));
        using var x = rand(2, 3, 8, 8);
        Use(model, x, calls: 2);
        model.parameters().ToList();
        long before = Live();
        Use(model, x, calls: 10);
        Assert.Equal(before, Live());
    }

    [Fact]
    public void NothingIsLeftOfRefusals()
    {
        using var model = Sequential(("fc", Linear(8, 4)), ("act", new Functional(ones(1), (_, x) => x.erfinv())));
        using var x = rand(2, 8);
        using var stats = new QuantStats();
        void Refused()
        {
            using var scope = NewDisposeScope();
            Assert.Throws<QwixException>(() => Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8), x));
            Assert.Throws<QwixException>(() => Qwix.QuantizeModel(model, new OdmlConversionProvider(OnDevice.Int8, model.state_dict(), stats), x));
        }

        Refused();
        long before = Live();
        for (int i = 0; i < 5; i++)
            Refused();
        Assert.Equal(before, Live());
    }

    private static void Use(nn.Module<Tensor, Tensor> model, Tensor x, int calls)
    {
        using var scope = NewDisposeScope();
        using var qat = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8), x);
        qat.train();
        for (int i = 0; i < calls; i++)
        {
            using var inner = NewDisposeScope();
            qat.zero_grad();
            qat.call(x).sum().backward();
        }

        qat.zero_grad();
        qat.eval();
        using var conversion = Qwix.QuantizeModel(model, new OdmlConversionProvider(OnDevice.Int8, model.state_dict(), qat.QuantStats), x);
        for (int i = 0; i < calls; i++)
        {
            using var inner = NewDisposeScope();
            conversion.call(x);
        }
    }

    private static long Live() => DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
}
