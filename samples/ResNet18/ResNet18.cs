using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Samples.ResNet18;

/// <summary>
/// ResNet-18 (He et al. 2015) up to its features: the 512 numbers that its last layer would classify. Fields carry
/// torchvision's names. As in the pretrained network of ML.NET, the last stage has three blocks, one more than in the paper.
/// </summary>
public sealed class ResNet18 : Module<Tensor, Tensor>
{
    private readonly Conv2d conv1 = Conv2d(3, 64, 7, stride: 2, padding: 3, bias: false);
    private readonly BatchNorm2d bn1 = BatchNorm2d(64);
    private readonly MaxPool2d maxpool = MaxPool2d(3, stride: 2, padding: 1);
    private readonly Sequential layer1 = Stage(64, 64, stride: 1, blocks: 2);
    private readonly Sequential layer2 = Stage(64, 128, stride: 2, blocks: 2);
    private readonly Sequential layer3 = Stage(128, 256, stride: 2, blocks: 2);
    private readonly Sequential layer4 = Stage(256, 512, stride: 2, blocks: 3);
    private readonly AdaptiveAvgPool2d avgpool = AdaptiveAvgPool2d(1);

    /// <summary>Makes a network with random weights.</summary>
    public ResNet18() : base(nameof(ResNet18)) => RegisterComponents();

    /// <summary>Turns images into features.</summary>
    /// <param name="x">float32, <c>[batch, 3, height, width]</c>, normalized as the weights expect.</param>
    /// <returns>float32, <c>[batch, 512]</c>.</returns>
    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        x = maxpool.call(functional.relu(bn1.call(conv1.call(x))));
        x = layer4.call(layer3.call(layer2.call(layer1.call(x))));
        return avgpool.call(x).flatten(1).MoveToOuterDisposeScope();
    }

    private static Sequential Stage(int channelsIn, int channelsOut, int stride, int blocks) =>
        Sequential([new BasicBlock(channelsIn, channelsOut, stride), .. Enumerable.Range(1, blocks - 1).Select(_ => new BasicBlock(channelsOut, channelsOut, stride: 1))]);
}

/// <summary>Two 3×3 convolutions, added to their input; where the shape changes, a 1×1 convolution brings the input along.</summary>
public sealed class BasicBlock : Module<Tensor, Tensor>
{
    private readonly Conv2d conv1;
    private readonly BatchNorm2d bn1;
    private readonly Conv2d conv2;
    private readonly BatchNorm2d bn2;
    private readonly Sequential? downsample;

    /// <summary>Makes a block with random weights.</summary>
    public BasicBlock(int channelsIn, int channelsOut, int stride) : base(nameof(BasicBlock))
    {
        conv1 = Conv2d(channelsIn, channelsOut, 3, stride: stride, padding: 1, bias: false);
        bn1 = BatchNorm2d(channelsOut);
        conv2 = Conv2d(channelsOut, channelsOut, 3, padding: 1, bias: false);
        bn2 = BatchNorm2d(channelsOut);
        if (stride != 1 || channelsIn != channelsOut)
            downsample = Sequential(Conv2d(channelsIn, channelsOut, 1, stride: stride, bias: false), BatchNorm2d(channelsOut));
        RegisterComponents();
    }

    /// <summary>Runs the block.</summary>
    /// <param name="x">float32, <c>[batch, channels, height, width]</c>.</param>
    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var y = functional.relu(bn1.call(conv1.call(x)));
        y = bn2.call(conv2.call(y));
        var shortcut = downsample is null ? x : downsample.call(x);
        return functional.relu(y + shortcut).MoveToOuterDisposeScope();
    }
}
