using CsCheck;
using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops;

public class ConvGeneralDilatedTests
{
    private static readonly string?[] Types = [null, "int8", "int4", "int16", "int1", "float8_e4m3fn", "nf4"];

    private static readonly Gen<ConvReference> Geometries = Gen.Select(
        Gen.Long[1, 3].Array[2], Gen.Select(Gen.Long[-1, 3], Gen.Long[-1, 3]).Array[2], Gen.Long[1, 3].Array[2], Gen.Long[1, 2].Array[2], Gen.Int[0, 4],
        (strides, padding, lhsDilation, rhsDilation, groups) =>
            new ConvReference(strides, padding, lhsDilation, rhsDilation, groups is 1 or 2 ? groups + 1 : 1, groups is 3 or 4 ? groups - 1 : 1));

    /// <summary>What PyTorch calls transposed: dilated input, strides of 1, padding inside the window.</summary>
    private static readonly Gen<ConvReference> TransposedGeometries = Gen.Select(Geometries, Gen.Long[-1, 1].Array[2], Gen.Long[0, 1].Array[2])
        .Select((geometry, low, extra) => geometry with { Strides = [1, 1], LhsDilation = [2, 3], Padding = [(low[0], low[0] + extra[0]), (low[1], low[1] + extra[1])] });

    private static readonly Gen<long[]> Sizes = Gen.Long[1, 4].Array[7];

    [Fact]
    public void EqualsTheDefinition() => CheckAgainstDefinition(Geometries);

    [Fact]
    public void TransposedOnesEqualTheDefinition() => CheckAgainstDefinition(TransposedGeometries);

    private static void CheckAgainstDefinition(Gen<ConvReference> geometries) => Gen.Select(geometries, Sizes, Gen.Int[0, Types.Length - 1], Gen.Int[0, Types.Length - 1], Gen.Int[1, 9999]).Sample(
        (geometry, sizes, left, right, seed) =>
        {
            using var scope = NewDisposeScope();
            var random = new Random(seed);
            ConvDimensionNumbers layouts = (Shuffle("NCHW"), Shuffle("OIHW"), Shuffle("NCHW"));
            int groups = geometry.FeatureGroups * geometry.BatchGroups;
            var x = ProductChecks.Random(seed, sizes[0] * geometry.BatchGroups, sizes[1] * geometry.FeatureGroups, sizes[2] + 3, sizes[3] + 3);
            var w = ProductChecks.Random(seed + 1, sizes[4] * groups, sizes[1], sizes[5], sizes[6]);
            Operand lhs = Make(x.permute(Order("NCHW", layouts.Lhs)), Types[left], true, seed % 2 == 0);
            Operand rhs = Make(w.permute(Order("OIHW", layouts.Rhs)), Types[right], false, seed % 2 == 1);
            Tensor xs = lhs.Float64().permute(Order(layouts.Lhs, "NCHW")), ws = rhs.Float64().permute(Order(layouts.Rhs, "OIHW"));
            // Strides, padding and dilations follow the kernel's layout.
            bool swap = layouts.Rhs.IndexOf('W') < layouts.Rhs.IndexOf('H');
            T[] Ordered<T>(T[] values) => swap ? [values[1], values[0]] : values;

            var actual = Qwix.ConvGeneralDilated(
                lhs, rhs, Ordered(geometry.Strides), Ordered(geometry.Padding), Ordered(geometry.LhsDilation), Ordered(geometry.RhsDilation),
                layouts, geometry.FeatureGroups, geometry.BatchGroups);

            var expected = geometry.Compute(xs, ws).permute(Order("NCHW", layouts.Output));
            ProductChecks.AssertClose(expected, geometry.Compute(xs.abs(), ws.abs()), actual);

            Operand Make(Tensor values, string? qtype, bool forLhs, bool asymmetric) => qtype is null
                ? values
                : Quantizer.Quantize(values, ConvGeneralOp.HowToQuantize(layouts, forLhs, qtype, null, asymmetric && qtype is "int8" or "int4" ? "minmax" : "absmax"));

            string Shuffle(string letters)
            {
                char[] shuffled = letters.ToCharArray();
                random.Shuffle(shuffled);
                return new string(shuffled);
            }
        },
        iter: 200, threads: 1);

    [Theory]
    [InlineData("int8", 600, 1)]
    [InlineData("int8", 40, 1)]
    [InlineData("int8", 40, 2)]
    [InlineData("int8", 600, 2)]
    [InlineData("int16", 40, 1)]
    public void SumsOfTheLargestCodesAreExact(string name, long features, int groups)
    {
        using var scope = NewDisposeScope();
        var qtype = QType.Parse(name);
        Tensor codes = ProductChecks.LargeCodes(qtype, 1, 1, features * groups, 5, 5), kernel = ProductChecks.LargeCodes(qtype, 2, 2 * groups, features, 3, 3);
        var expected = nn.functional.conv2d(codes.to(ScalarType.Float64), kernel.to(ScalarType.Float64), groups: groups);
        var actual = Qwix.ConvGeneralDilated(ProductChecks.Codes(qtype, codes), ProductChecks.Codes(qtype, kernel), [1, 1], "VALID", featureGroupCount: groups);
        ProductChecks.AssertEqual(expected, actual);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    public void AnyNumberOfSpatialAxesIsTorchs(int spatial)
    {
        using var scope = NewDisposeScope();
        long[] lengths = [.. new long[] { 6, 7, 8 }.Take(spatial)], windows = [.. new long[] { 2, 3, 2 }.Take(spatial)];
        Tensor x = ProductChecks.Random(1, [2, 4, .. lengths]), w = ProductChecks.Random(2, [6, 2, .. windows]);
        Operand lhs = Qwix.Quantize(x, "int8", [0]), rhs = Qwix.Quantize(w, "int8", [0]);
        Tensor exactX = lhs.Float64(), exactW = rhs.Float64();
        var expected = spatial switch
        {
            0 => einsum("ngi,goi->ngo", exactX.reshape(2, 2, 2), exactW.reshape(2, 3, 2)).reshape(2, 6),
            1 => nn.functional.conv1d(exactX, exactW, padding: 1, stride: 2, groups: 2),
            _ => nn.functional.conv3d(exactX, exactW, padding: [1, 1, 1], strides: [2, 2, 2], groups: 2),
        };
        var padding = Enumerable.Repeat((1L, 1L), spatial).ToArray();
        long[] strides = [.. Enumerable.Repeat(2L, spatial)];
        var actual = Qwix.ConvGeneralDilated(lhs, rhs, strides, padding, featureGroupCount: 2);
        ProductChecks.AssertClose(expected, expected.abs(), actual, 1e-5);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void TransposedConvolutionsAreTorchs(int spatial)
    {
        using var scope = NewDisposeScope();
        long[] lengths = [.. new long[] { 6, 7, 5 }.Take(spatial)], windows = [.. new long[] { 2, 3, 4 }.Take(spatial)];
        long[] Each(long value) => [.. Enumerable.Repeat(value, spatial)];
        Operand lhs = Qwix.Quantize(ProductChecks.Random(1, [2, 4, .. lengths]), "int8", [0]);
        // PyTorch's transposed kernel: (input features, output features of a group, spatial).
        Operand kernel = Qwix.Quantize(ProductChecks.Random(2, [4, 3, .. windows]), "int8");
        Tensor x = lhs.Float64(), w = kernel.Float64();
        var expected = spatial switch
        {
            1 => nn.functional.conv_transpose1d(x, w, stride: 2, padding: 1, output_padding: 1, dilation: 2, groups: 2),
            2 => nn.functional.conv_transpose2d(x, w, null, Each(2), Each(1), Each(1), Each(2), 2),
            _ => nn.functional.conv_transpose3d(x, w, null, Each(2), Each(1), Each(1), Each(2), 2),
        };
        var forward = kernel.Dequantize().reshape([2, 2, 3, .. windows]).transpose(1, 2).reshape([6, 2, .. windows]).flip([.. Enumerable.Range(2, spatial).Select(i => (long)i)]);
        var rhs = Quantizer.Quantize(forward, kernel.QArray!.QType, kernel.QArray.Scale, null);
        (long, long)[] padding = [.. windows.Select(k => ((2 * (k - 1)) - 1, 2 * (k - 1)))];

        var actual = Qwix.ConvGeneralDilated(lhs, rhs, Each(1), padding, Each(2), Each(2), featureGroupCount: 2);

        ProductChecks.AssertClose(expected, expected.abs(), actual, 1e-5);
    }

    [Theory]
    [InlineData("SAME", 10, 3, 2, 0, 1)]
    [InlineData("SAME_LOWER", 10, 3, 2, 1, 0)]
    [InlineData("same", 9, 4, 1, 1, 2)]
    [InlineData("SAME_LOWER", 9, 4, 1, 2, 1)]
    [InlineData("SAME", 10, 1, 3, 0, 0)]
    [InlineData("VALID", 10, 3, 2, 0, 0)]
    public void NamedPaddingsAreTheirPairs(string name, long length, long window, long stride, long low, long high)
    {
        using var scope = NewDisposeScope();
        Tensor x = ProductChecks.Random(1, 1, 2, length), w = ProductChecks.Random(2, 3, 2, window);
        var expected = Qwix.ConvGeneralDilated(x, w, [stride], ConvPadding.Explicit((low, high)));
        ProductChecks.AssertEqual(expected, Qwix.ConvGeneralDilated(x, w, [stride], name));
        if (name != "VALID")
            Assert.Equal((length + stride - 1) / stride, expected.shape[2]);
    }

    [Fact]
    public void ScalesOnOtherAxesAreDequantizedFirst()
    {
        using var scope = NewDisposeScope();
        Operand lhs = Qwix.Quantize(ProductChecks.Random(1, 2, 8, 5, 5), "int8", [0, 2]);
        Operand rhs = Qwix.Quantize(ProductChecks.Random(2, 3, 8, 3, 3), "int4", [0], new Dictionary<int, TileSize> { [1] = 4, [2] = 3 });
        var expected = nn.functional.conv2d(lhs.Float64(), rhs.Float64());
        ProductChecks.AssertClose(expected, expected.abs(), Qwix.ConvGeneralDilated(lhs, rhs, [1, 1], "VALID"), 1e-5);
    }

    [Fact]
    public void TheResultHasThePromotedOrPreferredDtype()
    {
        using var scope = NewDisposeScope();
        var x = ProductChecks.Random(1, 2, 4, 5).to(ScalarType.BFloat16);
        var codes = Qwix.Quantize(x, "int8", [0]);
        var w = Qwix.Quantize(ProductChecks.Random(2, 3, 4, 3).to(ScalarType.BFloat16), "int8", [0]);
        foreach (Operand lhs in new Operand[] { x, codes })
        {
            Assert.Equal(ScalarType.BFloat16, Qwix.ConvGeneralDilated(lhs, w, [1], "SAME").dtype);
            Assert.Equal(ScalarType.Float32, Qwix.ConvGeneralDilated(lhs, w, [1], "SAME", preferredElementType: ScalarType.Float32).dtype);
        }
    }

    [Fact]
    public void GradientsFlowThroughFloatingOperands()
    {
        using var scope = NewDisposeScope();
        var x = ProductChecks.Random(1, 2, 4, 6, 6).requires_grad_(true);
        var same = x.detach().clone().requires_grad_(true);
        var w = Qwix.Quantize(ProductChecks.Random(2, 3, 4, 3, 3), "int4", [0]);
        Qwix.ConvGeneralDilated(x, w, [2, 1], ConvPadding.Explicit((1, 0), (-1, 2)), lhsDilation: [2, 1]).square().sum().backward();
        var dilated = nn.functional.pad(same.unsqueeze(3), [0, 0, 0, 1]).flatten(2, 3).narrow(2, 0, 11);
        nn.functional.conv2d(nn.functional.pad(dilated, [-1, 2, 1, 0]), w.Dequantize(), strides: [2, 1]).square().sum().backward();
        ProductChecks.AssertClose(same.grad!, same.grad!.abs(), x.grad!, 1e-5);
    }

    [Fact]
    public void AWindowThatDoesNotFitGivesNothing()
    {
        using var scope = NewDisposeScope();
        Assert.Equal([2, 3, 0], Qwix.ConvGeneralDilated(zeros(2, 4, 2), zeros(3, 4, 3), [1], "VALID").shape);
    }

    [Fact]
    public void BadArgumentsAreRefused()
    {
        using var scope = NewDisposeScope();
        Tensor x = zeros(2, 4, 5, 5), w = zeros(6, 4, 3, 3);
        Refused("stride", () => Qwix.ConvGeneralDilated(x, w, [1], "VALID"));
        Refused("stride", () => Qwix.ConvGeneralDilated(x, w, [1, 0], "VALID"));
        Refused("dilation", () => Qwix.ConvGeneralDilated(x, w, [1, 1], "VALID", rhsDilation: [0, 1]));
        Refused("pairs", () => Qwix.ConvGeneralDilated(x, w, [1, 1], ConvPadding.Explicit((0, 0))));
        Refused("SAME", () => Qwix.ConvGeneralDilated(x, w, [1, 1], "SAME", lhsDilation: [2, 1]));
        Refused("FULL", () => Qwix.ConvGeneralDilated(x, w, [1, 1], "FULL"));
        Refused("features", () => Qwix.ConvGeneralDilated(x, w, [1, 1], "VALID", featureGroupCount: 2));
        Refused("divide", () => Qwix.ConvGeneralDilated(x, w, [1, 1], "VALID", batchGroupCount: 4));
        Refused("only one", () => Qwix.ConvGeneralDilated(x, w, [1, 1], "VALID", featureGroupCount: 2, batchGroupCount: 2));
        Refused("NCW", () => Qwix.ConvGeneralDilated(x, w, [1, 1], "VALID", dimensionNumbers: ("NCW", "OIHW", "NCHW")));
        Refused("axes", () => Qwix.ConvGeneralDilated(x, w, [1], "VALID", dimensionNumbers: ("NCW", "OIW", "NCW")));
        Refused("at most 3", () => Qwix.ConvGeneralDilated(x, w, [1], "VALID", dimensionNumbers: ("NCABDE", "OIABDE", "NCABDE")));
        Refused("zero point", () =>
        {
            QArray Asymmetric(Tensor t) => Qwix.Quantize(t, "int8", calibration: "minmax");
            return Qwix.ConvGeneralDilated(Asymmetric(x), Asymmetric(w), [1, 1], "VALID");
        });

        static void Refused(string word, Func<Tensor> act) => Assert.Contains(word, Assert.ThrowsAny<ArgumentException>(act).Message);
    }

    [Fact]
    public void TheMetaDeviceGivesShapes()
    {
        using var scope = NewDisposeScope();
        var kernel = Qwix.Quantize(ProductChecks.Random(1, 6, 4, 3, 3), "int8", [0]).To(META);
        var codes = Qwix.Quantize(ProductChecks.Random(2, 2, 4, 8, 8), "int8", [0]).To(META);
        foreach (Operand lhs in new Operand[] { zeros(2, 4, 8, 8, device: META), codes })
            Assert.Equal([2, 6, 4, 8], Qwix.ConvGeneralDilated(lhs, kernel, [2, 1], "SAME").shape);
    }

    [Fact]
    public void NothingLeaks()
    {
        using var x = ProductChecks.Random(1, 2, 130, 6, 6);
        using var w = ProductChecks.Random(2, 4, 130, 3, 3);
        using var codes = Qwix.Quantize(x, "int8", [0], calibration: "minmax");
        using var kernel = Qwix.Quantize(w, "int8", [0]);
        ConvPadding padding = ConvPadding.Explicit((1, 0), (2, -1));
        ProductChecks.AssertLeaksNothing(() => Qwix.ConvGeneralDilated(codes, kernel, [1, 1], padding, [2, 1]));
        ProductChecks.AssertLeaksNothing(() => Qwix.ConvGeneralDilated(codes, kernel, [1, 1], ConvPadding.Explicit((1, 2), (1, 1)), [2, 2]));
        ProductChecks.AssertLeaksNothing(() => Qwix.ConvGeneralDilated(x, kernel, [1, 1], "SAME"));
        ProductChecks.AssertLeaksNothing(() => Qwix.ConvGeneralDilated(codes, w, [1, 1], "SAME", batchGroupCount: 2));
        using Tensor vector = ProductChecks.Random(1, 2, 130), matrix = ProductChecks.Random(2, 4, 130);
        ProductChecks.AssertLeaksNothing(() => Qwix.ConvGeneralDilated(vector, matrix, [], "VALID"));
    }

    private static long[] Order(string from, string to) => [.. to.Select(letter => (long)from.IndexOf(letter))];
}
