using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops;

/// <summary>
/// Convolutions of codes on a processor where libtorch's own float32 convolutions may be wrong: the other tests keep libtorch from the
/// instructions with which they are.
/// </summary>
public class AnyProcessorTests
{
    [Fact]
    public Task ConvolutionsOfCodesAreExactWhateverLibtorchDoes() =>
        OwnProcess.Run(typeof(AnyProcessorTests), nameof(ConvolutionsOfCodesAreExact), new() { ["ONEDNN_MAX_CPU_ISA"] = null });

    /// <summary>Few output features, short windows, three axes, 16 bits: what libtorch used to compute.</summary>
    [Fact(Explicit = true)]
    public void ConvolutionsOfCodesAreExact()
    {
        var random = new Random(1);
        for (var trial = 0; trial < 60; trial++)
        {
            using var scope = NewDisposeScope();
            int spatial = random.Next(1, 4), groups = random.Next(3) == 0 ? 2 : 1, channels = random.Next(17, 40);
            var dtype = random.Next(3) switch { 0 => ScalarType.BFloat16, 1 => ScalarType.Float16, _ => ScalarType.Float32 };
            long[] sizes = [.. Enumerable.Range(0, spatial).Select(_ => (long)random.Next(5, 12))], window = [.. sizes.Select(_ => (long)random.Next(1, 4))];
            Tensor x = randint(-128, 128, [2, groups * channels, .. sizes]), w = randint(-8, 8, [groups * random.Next(1, 20), channels, .. window]);
            var expected = Convolve(x.to(ScalarType.Float64), w.to(ScalarType.Float64), groups);

            var actual = Qwix.ConvGeneralDilated(
                ProductChecks.Codes("int8", x).To(dtype), ProductChecks.Codes("int4", w).To(dtype), [.. window.Select(_ => 1L)], "VALID", featureGroupCount: groups);

            Assert.True(actual.equal(expected.to(dtype)).all().item<bool>(), $"{dtype}, {groups} × {channels} → {w.shape[0]}, window {string.Join(" × ", window)}");
        }
    }

    [Fact]
    public Task ValuesThatAreNotFiniteSpoilNoOthersWhateverLibtorchDoes() =>
        OwnProcess.Run(typeof(AnyProcessorTests), nameof(ValuesThatAreNotFiniteSpoilNoOthers), new() { ["ONEDNN_MAX_CPU_ISA"] = null });

    /// <summary>With a static scale it is found by a second convolution which results depend on values that are not finite.</summary>
    [Fact(Explicit = true)]
    public void ValuesThatAreNotFiniteSpoilNoOthers()
    {
        using var scope = NewDisposeScope();
        using var model = nn.Sequential(("conv", nn.Conv2d(20, 20, 3)));
        var x = ProductChecks.Random(1, 2, 20, 9, 9);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([new QuantizationRule { WeightQType = "int8", ActQType = "int8", ActStaticScale = true }]), x);
        quantized.eval();
        using var noGrad = no_grad();
        var expected = quantized.call(x);
        x[1, 3, 8, 8] = float.NaN;

        var actual = quantized.call(x);

        Assert.True(actual[1, TensorIndex.Colon, 6, 6].isnan().all().item<bool>());
        Assert.True(actual.isnan().sum().item<long>() == 20);
        Assert.True(actual.nan_to_num(0).equal(where(actual.isnan(), 0, expected)).all().item<bool>());
    }

    private static Tensor Convolve(Tensor x, Tensor w, long groups) => w.dim() switch
    {
        3 => nn.functional.conv1d(x, w, groups: groups),
        4 => nn.functional.conv2d(x, w, groups: groups),
        _ => nn.functional.conv3d(x, w, groups: groups),
    };
}
