using QwixSharp.Arrays;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Passes;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Kernels;

/// <summary>Gradients of convolutions quantized in one pass, against multiplying and quantizing one after the other.</summary>
public unsafe class ChannelPassTests
{
    [Theory]
    [InlineData(3, 5, 64, 8)]
    [InlineData(2, 7, 300, 8)]
    [InlineData(1, 4, 9, 4)]
    public void CodesAndScalesAreThoseOfTwoSteps(long outer, long channels, long inner, int bits)
    {
        using var scope = NewDisposeScope();
        manual_seed(1);
        Tensor x = randn(outer, channels, inner), ofOuter = rand(outer) + 0.1f;
        Tensor exchanged = empty([channels, outer, inner], dtype: ScalarType.Int8), scalesOfChannels = empty(channels);
        ChannelPass.OfChannels(Floats(x), outer, channels, inner, Floats(ofOuter), CodeRange.OfBits(bits), Codes(exchanged), Floats(scalesOfChannels), threads: 2);
        using var expectedOfChannels = Qwix.Quantize(x * ofOuter.reshape(-1, 1, 1), $"int{bits}", [1]);
        Assert.True(exchanged.equal(expectedOfChannels.GetQValue().transpose(0, 1)).all().item<bool>());
        Assert.True(scalesOfChannels.equal(expectedOfChannels.Scale.flatten()).all().item<bool>());
    }

    private static float* Floats(Tensor tensor) => (float*)TensorMemory.Address(tensor);

    private static sbyte* Codes(Tensor tensor) => (sbyte*)TensorMemory.Address(tensor);
}
