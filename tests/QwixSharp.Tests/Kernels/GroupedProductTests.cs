using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;

namespace QwixSharp.Tests.Kernels;

/// <summary>Products of the same activations at once are those that each weight gives alone, bit for bit.</summary>
public unsafe class GroupedProductTests
{
    private const int Depth = 96;

    private static readonly int[] Columns = [48, 5, 0, 200];

    public static TheoryData<string, int, int, int, bool, int> Cases()
    {
        var cases = new TheoryData<string, int, int, int, bool, int>();
        foreach (var kernel in KernelSelector.AllIntegerKernels().Where(k => k.IsSupported))
            foreach (var (bits, tile, perTile) in new[] { (8, Depth, false), (4, 32, true), (4, 32, false), (8, 32, true) })
                foreach (int rows in (int[])[1, 7, 40])
                    cases.Add(kernel.Name, bits, tile, rows, perTile, 1 + rows % 2);
        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void AGroupGivesWhatEachProductGivesAlone(string kernelName, int bits, int tile, int rows, bool perTile, int threads)
    {
        var random = new Random(rows + bits + tile);
        var selector = Sample.Pinned(KernelSelector.AllIntegerKernels().Single(k => k.Name == kernelName));
        Sample[] weights = [.. Columns.Select(n => Sample.Integers(random, n, Depth, tile, bits))];
        var bias = Sample.Floats(random, Columns.Max());
        float[][] alone = [.. Columns.Select(n => new float[rows * n])], grouped = [.. Columns.Select(n => new float[rows * n])], fromCodes = [.. Columns.Select(n => new float[rows * n])];
        fixed (float* x = Sample.Floats(random, rows * Depth), b = bias)
        {
            var input = new FloatInput((nint)x, Depth, rows);
            nint addedBias = (nint)b;
            for (int i = 0; i < weights.Length; i++)
                fixed (float* y = alone[i])
                    MatMul.Dynamic(input, weights[i].Packed, new((nint)y, Columns[i], addedBias), threads, scalePerTile: perTile, selector: selector);
            InParts(weights, grouped, addedBias, parts => MatMul.Dynamic(input, parts, threads, scalePerTile: perTile, selector: selector));

            int tiles = perTile ? Depth / tile : 1;
            fixed (sbyte* codes = new sbyte[rows * Depth])
            fixed (float* scales = new float[rows * tiles])
            {
                for (int part = 0; part < rows * tiles; part++)
                {
                    scales[part] = RowQuantizer.Scale(RowQuantizer.AbsMax(x + part * (Depth / tiles), Depth / tiles), CodeRange.Int8);
                    RowQuantizer.Quantize(x + part * (Depth / tiles), Depth / tiles, scales[part], 0, CodeRange.Int8, codes + part * (Depth / tiles));
                }

                var quantized = new QuantizedInput { Source = QuantizedSource.Codes, Values = (nint)codes, RowStride = Depth, Rows = rows, Scales = (nint)scales, ScaleRowStride = tiles, ScalePerTile = perTile };
                InParts(weights, fromCodes, addedBias, parts => MatMul.Quantized(quantized, parts, threads, selector));
            }
        }

        Assert.Equal(alone, grouped);
        Assert.Equal(alone, fromCodes);
        foreach (var weight in weights)
            weight.Dispose();
    }

    [Fact]
    public void WeightsThatWantOtherActivationsAreRefused()
    {
        var random = new Random(1);
        using var first = Sample.Integers(random, 16, 64, 64, 8);
        using var deeper = Sample.Integers(random, 16, 128, 128, 8);
        using var tiled = Sample.Integers(random, 16, 64, 32, 8);
        using var narrow = Sample.Integers(random, 16, 64, 64, 4);
        var values = new float[128];
        fixed (float* x = values)
        {
            var input = new FloatInput((nint)x, 128, 1);
            nint y = (nint)x;
            foreach (var other in new[] { deeper, tiled, narrow })
                Assert.Throws<ArgumentException>(() => MatMul.Dynamic(input, [new(first.Packed, new(y, 16)), new(other.Packed, new(y, 16))], 1));
            MatMul.Dynamic(input, [], 1);
        }
    }

    private delegate void Multiplication(ReadOnlySpan<ProductPart> parts);

    private static void InParts(Sample[] weights, float[][] results, nint bias, Multiplication multiply)
    {
        var memory = results.Select(r => System.Runtime.InteropServices.GCHandle.Alloc(r, System.Runtime.InteropServices.GCHandleType.Pinned)).ToList();
        multiply([.. weights.Select((w, i) => new ProductPart(w.Packed, new(memory[i].AddrOfPinnedObject(), Columns[i], bias)))]);
        memory.ForEach(m => m.Free());
    }
}
