using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops;

public class EinsumTests
{
    [Theory]
    [InlineData("ij,jk->ik", "3,4 4,5")]
    [InlineData("ij,jk", "3,4 4,5")]
    [InlineData("ba,cb", "3,4 5,3")]
    [InlineData("ij , jk -> ki", "3,4 4,5")]
    [InlineData("bqhd,bkhd->bhqk", "2,5,3,8 2,6,3,8")]
    [InlineData("...d,dh->...h", "2,3,4 4,5")]
    [InlineData("...d,dh->...h", "4 4,5")]
    [InlineData("...ij,...jk", "2,1,3,4 5,4,6")]
    [InlineData("...,...->...", "2,3 3")]
    [InlineData("i...,i...->...", "2,3,4 2,3,4")]
    [InlineData("ij,ij->i", "3,4 3,4")]
    [InlineData("ij,ij->", "3,4 3,4")]
    [InlineData("ij,jk->", "3,4 4,5")]
    [InlineData("ij,jk->k", "3,4 4,5")]
    [InlineData("ij,kl->", "3,4 2,5")]
    [InlineData("i,j->ij", "3 4")]
    [InlineData("i,i->i", "3 3")]
    [InlineData("ii->i", "4,4")]
    [InlineData("ii->", "4,4")]
    [InlineData("iji->ji", "4,3,4")]
    [InlineData("iii->i", "4,4,4")]
    [InlineData("ii,ij->j", "4,4 4,3")]
    [InlineData("ij->ji", "3,4")]
    [InlineData("ij->", "3,4")]
    [InlineData("ab,bc,cd->ad", "3,4 4,5 5,6")]
    [InlineData("ab,cd,bc->da", "3,4 5,6 4,5")]
    [InlineData("a,b,ab->", "3 4 3,4")]
    [InlineData("ab,b,bc,a->c", "3,4 4 4,5 3")]
    [InlineData("ea,fb,abcd,gc,hd->efgh", "3,2 3,2 2,2,2,2 3,2 3,2")]
    public void EqualsTorch(string equation, string shapes)
    {
        using var scope = NewDisposeScope();
        Tensor[] tensors = [.. shapes.Split(' ').Select((s, i) => ProductChecks.Random(i + 1, [.. s.Split(',').Select(long.Parse)]))];
        QArray[] arrays = [.. tensors.Select(t => Qwix.Quantize(t, "int8", [0]))];
        for (int quantized = 0; quantized < 1 << tensors.Length; quantized++)
        {
            Operand[] operands = [.. tensors.Select((t, i) => (quantized >> i & 1) == 1 ? (Operand)arrays[i] : t)];
            Tensor[] exact = [.. operands.Select(o => o.Float64())];
            var magnitudes = einsum(equation, [.. exact.Select(t => t.abs())]);
            ProductChecks.AssertClose(einsum(equation, exact), magnitudes, Qwix.Einsum(equation, operands));
        }
    }

    [Fact]
    public void AxesThatDivideOthersAreRepeated()
    {
        using var scope = NewDisposeScope();
        Tensor x = ProductChecks.Random(1, 3, 1), w = ProductChecks.Random(2, 4, 5), tiles = ProductChecks.Random(3, 2, 5);
        var codes = Qwix.Quantize(tiles, "int4", [1]);
        ProductChecks.AssertEqual(Qwix.Einsum("ij,jk->ik", x.expand(3, 4), w), Qwix.Einsum("ij,jk->ik", x, w));
        ProductChecks.AssertEqual(
            Qwix.Einsum("ij,jk->ik", w.t(), tiles.repeat_interleave(2, 0)), Qwix.Einsum("ij,jk->ik", w.t(), tiles));
        ProductChecks.AssertEqual(
            Qwix.Einsum("ij,jk->ik", w.t(), codes.Dequantize().repeat_interleave(2, 0)), Qwix.Einsum("ij,jk->ik", w.t(), codes));
    }

    [Fact]
    public void TwoQuantizedOperandsAreMultipliedAsCodes()
    {
        using var scope = NewDisposeScope();
        Tensor x = ProductChecks.LargeCodes(QType.Int8, 1, 2, 5000), w = ProductChecks.LargeCodes(QType.Int8, 2, 5000, 3);
        var expected = einsum("ij,jk->ki", x.to(ScalarType.Float64), w.to(ScalarType.Float64));
        ProductChecks.AssertEqual(expected, Qwix.Einsum("ij,jk->ki", ProductChecks.Codes(QType.Int8, x), ProductChecks.Codes(QType.Int8, w)));
    }

    [Fact]
    public void ThePreferredDtypeIsThatOfTheResult()
    {
        using var scope = NewDisposeScope();
        Tensor x = ProductChecks.Random(1, 3, 4).to(ScalarType.BFloat16), w = ProductChecks.Random(2, 4, 5).to(ScalarType.BFloat16);
        Assert.Equal(ScalarType.BFloat16, Qwix.Einsum("ij,jk", x, w).dtype);
        Assert.Equal(ScalarType.Float32, Qwix.Einsum("ij,jk", ScalarType.Float32, x, w).dtype);
        Assert.Equal(ScalarType.Float32, Qwix.Einsum("ij->i", ScalarType.Float32, x).dtype);
    }

    [Fact]
    public void GradientsFlowThroughFloatingOperands()
    {
        using var scope = NewDisposeScope();
        var x = ProductChecks.Random(1, 2, 3, 4).requires_grad_(true);
        var w = Qwix.Quantize(ProductChecks.Random(2, 4, 5), "int4", [1]);
        Qwix.Einsum("...d,dh->h...", x, w).sum().backward();
        ProductChecks.AssertClose(w.Dequantize().sum(1).expand(2, 3, 4), ones(1), x.grad!);
    }

    [Theory]
    [InlineData("ij,jk->ik->k", "arrow")]
    [InlineData("ij->ij", "operands")]
    [InlineData("ijk,jk->ik", "axes")]
    [InlineData("i,jk->ik", "axes")]
    [InlineData("ij,jk->iz", "'z'")]
    [InlineData("ij,jk->ii", "twice")]
    [InlineData("i1,jk->ik", "letter")]
    [InlineData("......ij,jk->ik", "ellipsis")]
    [InlineData("ij,jk->...i.", "letter")]
    public void BadEquationsAreRefused(string equation, string reason)
    {
        using var scope = NewDisposeScope();
        var error = Assert.Throws<ArgumentException>(() => Qwix.Einsum(equation, zeros(3, 4), zeros(4, 5)));
        Assert.Contains(reason, error.Message);
        Assert.Contains(equation, error.Message);
    }

    [Fact]
    public void LengthsThatDoNotDivideAreRefused()
    {
        using var scope = NewDisposeScope();
        var error = Assert.Throws<ArgumentException>(() => Qwix.Einsum("ij,jk->ik", zeros(3, 4), zeros(6, 5)));
        Assert.Contains("'j'", error.Message);
        Assert.Throws<ArgumentException>(() => Qwix.Einsum("->", []));
    }

    [Fact]
    public void NothingLeaks()
    {
        using var x = ProductChecks.Random(1, 4, 4);
        using var codes = Qwix.Quantize(x, "int4", [0]);
        foreach (string equation in new[] { "ij,jk->ik", "ii,ij->j", "ij,kl->", "ij,jk->kij" })
        {
            ProductChecks.AssertLeaksNothing(() => Qwix.Einsum(equation, x, codes));
            ProductChecks.AssertLeaksNothing(() => Qwix.Einsum(equation, codes, codes));
        }

        ProductChecks.AssertLeaksNothing(() => Qwix.Einsum("ij->ij", x));
        ProductChecks.AssertLeaksNothing(() => Qwix.Einsum("ij,jk,kl->il", x, codes, x));
    }
}
