using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception;

/// <summary>Models of a library that was built long before: nothing in them knows of interception.</summary>
public class TorchVisionTests
{
    /// <summary>Part of inception_v3; its forward pass uses it in training alone.</summary>
    private const string TrainingOnly = "AuxLogits.";

    private static readonly string[] Factories =
    [
        "alexnet", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "googlenet", "inception_v3",
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
        "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2",
        "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
    ];

    [Fact]
    public void NoFactoryIsLeftOut() => Assert.Equal(
        typeof(torchvision.models).GetMethods(System.Reflection.BindingFlags.Public | System.Reflection.BindingFlags.Static | System.Reflection.BindingFlags.DeclaredOnly).Select(m => m.Name).Order(),
        Factories.Order());

    public static TheoryData<string> Names => [.. Factories];

    [Theory]
    [MemberData(nameof(Names))]
    public void EveryLayerIsSeenAtItsPathAndTheOutputIsTheSame(string name)
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        using var model = Make(name);
        model.eval();
        var x = ones(InputShape(name));
        var plain = model.call(x);
        var seen = new RecordingInterceptor();

        var intercepted = Intercepted.Run(model, x, seen);

        Assert.True(Intercepted.BitEqual(plain, intercepted));
        Assert.Equal(LayerPaths(model), seen.PathsOf("conv2d", "linear").Order());
        Assert.DoesNotContain(seen.Calls, call => call.Path.Contains('?'));
    }

    [Theory]
    [InlineData("resnet18")]
    [InlineData("mobilenet_v3_small")]
    public void GradientsAndBatchStatisticsAreTheSame(string name)
    {
        using var scope = NewDisposeScope();
        using var model = Make(name);
        model.train();

        // Tests that run beside this one draw from the same random numbers, so dropout would differ.
        foreach (var dropout in model.modules().OfType<TorchSharp.Modules.Dropout>()) dropout.eval();
        var x = rand(2, 3, 32, 32);
        var start = model.state_dict().ToDictionary(entry => entry.Key, entry => entry.Value.clone());

        Dictionary<string, Tensor> Step(Func<Tensor> run)
        {
            model.load_state_dict(start);
            model.zero_grad();
            run().square().mean().backward();
            var results = model.named_parameters().ToDictionary(p => p.name, p => p.parameter.grad!.clone());
            foreach (var (key, buffer) in model.named_buffers()) results[key] = buffer.clone();
            return results;
        }

        var plain = Step(() => model.call(x));
        var intercepted = Step(() => Intercepted.Run(model, x, new RecordingInterceptor()));

        Assert.Equal(plain.Keys.Order(), intercepted.Keys.Order());
        Assert.All(plain, entry => Assert.True(Intercepted.BitEqual(entry.Value, intercepted[entry.Key]), entry.Key));
        Assert.Contains(plain.Values, tensor => tensor.abs().sum().ToSingle() > 0);
    }

    [Fact]
    public void AnInterceptorCanChangeTheWeightsOfEveryConvolution()
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        using var model = Make("resnet18");
        model.eval();
        var x = ones(1, 3, 32, 32);
        var plain = model.call(x);

        var zeroed = Intercepted.Run(model, x, new FunctionInterceptor(
            (in QwixSharp.Interception.OpCall call) => call.Proceed([call.Arguments[0], ((Tensor)call.Arguments[1]!) * 0f, .. call.Arguments[2..]]),
            op => op.Name == "torch.nn.functional.conv2d"));

        Assert.False(Intercepted.BitEqual(plain, zeroed));
        Assert.True(Intercepted.BitEqual(plain, model.call(x)));
    }

    /// <summary>A small input that a model can take, [batch, channels, height, width].</summary>
    internal static long[] InputShape(string name)
    {
        long size = name switch { "inception_v3" => 96, "alexnet" => 64, _ => 32 };
        return [1, 3, size, size];
    }

    internal static nn.Module<Tensor, Tensor> Make(string name)
    {
        random.manual_seed(0);
        var factory = typeof(torchvision.models).GetMethod(name)!;
        return (nn.Module<Tensor, Tensor>)factory.Invoke(null, [.. factory.GetParameters().Select(p => p.DefaultValue)])!;
    }

    /// <summary>The paths of the convolutions and linear layers that run in evaluation mode, in order.</summary>
    internal static IOrderedEnumerable<string> LayerPaths(nn.Module model) =>
        model.named_modules().Where(m => (m.module is TorchSharp.Modules.Conv2d or TorchSharp.Modules.Linear) && !m.name.StartsWith(TrainingOnly, StringComparison.Ordinal)).Select(m => m.name).Order();
}
