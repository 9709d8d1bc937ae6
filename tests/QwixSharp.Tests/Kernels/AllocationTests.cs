using System.Runtime.InteropServices;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Tests.Kernels;

/// <summary>Once its buffers have the size that they need, a product allocates no managed memory.</summary>
public unsafe class AllocationTests
{
    private const int Size = 256;

    public static TheoryData<int, int> RowsAndThreads() => new() { { 1, 1 }, { 1, 2 }, { 37, 1 }, { 37, 2 } };

    [Theory]
    [MemberData(nameof(RowsAndThreads))]
    public void AProductOfIntegersAllocatesNothing(int rows, int threads)
    {
        var random = new Random(1);
        using var int8 = Sample.Integers(random, Size, Size, Size, 8);
        using var int4 = Sample.Integers(random, Size, Size, 32, 4);
        fixed (float* x = Sample.Floats(random, rows * Size), y = new float[rows * Size])
        {
            var (from, output) = ((nint)x, new ProductOutput((nint)y, Size));
            AssertNoAllocation(() => MatMul.Dynamic((float*)from, Size, rows, int8.Packed, output, threads));
            AssertNoAllocation(() => MatMul.Dynamic((float*)from, Size, rows, int4.Packed, output, threads));
        }
    }

    [Theory]
    [MemberData(nameof(RowsAndThreads))]
    public void AWeightOnlyProductAllocatesNothing(int rows, int threads)
    {
        var random = new Random(2);
        using var int8 = Sample.Integers(random, Size, Size, Size, 8);
        using var nf4 = Sample.Codebook(random, Size, Size, 64, Sample.Nf4);
        using var fp8 = Sample.Bytes(random, Size, Size, Size, Sample.E4M3);
        fixed (float* x = Sample.Floats(random, rows * Size), y = new float[rows * Size])
        {
            var (from, output) = ((nint)x, new ProductOutput((nint)y, Size));
            foreach (var weight in new[] { int8, nf4, fp8 })
                AssertNoAllocation(() => MatMul.WeightOnly((float*)from, Size, rows, weight.Packed, output, threads));
        }
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(1, true)]
    [InlineData(16, false)]
    public void AConvolutionAllocatesNothing(int groups, bool throughProducts)
    {
        var shape = new ConvolutionShape { Height = 9, Width = 9, Channels = 16, KernelHeight = 3, KernelWidth = 3, PadTop = 1, PadBottom = 1, PadLeft = 1, PadRight = 1, Groups = groups, OutChannels = groups == 1 ? 32 : 16 };
        var image = (sbyte*)NativeMemory.AllocZeroed((nuint)(shape.Height * shape.Width * shape.Channels));
        var y = (float*)NativeMemory.AllocZeroed((nuint)(shape.Height * shape.Width * shape.OutChannels), sizeof(float));
        fixed (sbyte* codes = new sbyte[shape.OutChannels * shape.WindowSize])
        fixed (float* scales = new float[shape.OutChannels])
        {
            var selector = throughProducts ? new KernelSelector(KernelSelector.AllIntegerKernels(), []) : null;
            using var kernel = ConvolutionKernel.Pack(codes, scales, shape, 8, selector);
            var input = new ConvolutionInput((nint)image, ImageForm.Codes, shape.Height, shape.Width, 1);
            AssertNoAllocation(() => kernel.Run(input, new ConvolutionOutput { Floats = (nint)y, ChannelsLast = true }, 2));
        }
        NativeMemory.Free(image);
        NativeMemory.Free(y);
    }

    private static void AssertNoAllocation(Action product)
    {
        for (var i = 0; i < 3; i++)
            product();
        // What happens now and then, such as the search for libtorch's threads before libtorch is loaded, is not a product's.
        Assert.Equal(0, Enumerable.Range(0, 5).Min(_ => AllocatedBy(product)));
    }

    private static long AllocatedBy(Action product)
    {
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 10; i++)
            product();
        return GC.GetAllocatedBytesForCurrentThread() - before;
    }
}
