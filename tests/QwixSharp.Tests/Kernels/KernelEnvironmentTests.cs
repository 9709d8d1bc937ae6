using QwixSharp.Kernels;
using QwixSharp.Kernels.Assembled;
using QwixSharp.Kernels.Portable;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Tests.Kernels;

/// <summary>The environment variables that kernels obey. They are read once a process, so that a process of its own is asked.</summary>
public class KernelEnvironmentTests
{
    [Fact]
    public async Task AssembledKernelsCanBeTurnedOffAndChoicesPrinted()
    {
        var printed = await RunAlone(nameof(AProductWithoutAssembledKernels), new() { ["QWIXSHARP_ASSEMBLED"] = "0", ["QWIXSHARP_TRACE"] = "1" });
        Assert.Contains("QwixSharp kernel: quantized activations x Int8 [40, 64] tile 64, M=7 -> ", printed);
        Assert.DoesNotContain("assembled", printed);
    }

    [Fact]
    public async Task LibtorchsThreadsCanBeLeftAloneAndNothingIsPrintedUnasked() =>
        Assert.DoesNotContain("QwixSharp kernel", await RunAlone(nameof(AProductOnThreadsOfOurOwn), new() { ["QWIXSHARP_OPENMP"] = "0", ["QWIXSHARP_TRACE"] = "0" }));

    /// <summary>Runs in a process without assembled kernels alone.</summary>
    [Fact(Explicit = true)]
    public void AProductWithoutAssembledKernels()
    {
        Assert.False(AssembledMachine.IsAvailable);
        CheckProduct(threads: 1);
    }

    /// <summary>Runs in a process without libtorch's threads alone.</summary>
    [Fact(Explicit = true)]
    public void AProductOnThreadsOfOurOwn()
    {
        TorchSharp.torch.ones(1).Dispose(); // loads libtorch
        CheckProduct(threads: 2);
        Assert.False(SpinWait.SpinUntil(() => OpenMpTeam.IsAvailable, 1000));
    }

    private static unsafe void CheckProduct(int threads)
    {
        var random = new Random(8);
        using var weight = Sample.Integers(random, 40, 64, 64, 8);
        var x = Sample.Floats(random, 7 * 64);
        float[] actual = new float[7 * 40], expected = new float[7 * 40];
        fixed (float* px = x, pa = actual, pe = expected)
        {
            MatMul.Dynamic(px, 64, 7, weight.Packed, new((nint)pa, 40), threads);
            MatMul.Dynamic(px, 64, 7, weight.Packed, new((nint)pe, 40), 1, selector: Sample.Pinned(new PortableIntegerKernel()));
        }
        Assert.Equal(expected, actual);
    }

    private static Task<string> RunAlone(string test, Dictionary<string, string?> variables) => OwnProcess.Run(typeof(KernelEnvironmentTests), test, variables);
}
