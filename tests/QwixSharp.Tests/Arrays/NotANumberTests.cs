using static TorchSharp.torch;

namespace QwixSharp.Tests.Arrays;

public class NotANumberTests
{
    /// <summary>A value that is not a number shows in all that shares its scale, and in nothing else.</summary>
    [Theory]
    [InlineData("int8")]
    [InlineData("int4")]
    [InlineData("fp8")]
    [InlineData("float8_e5m2")]
    [InlineData("nf4")]
    [InlineData("mxfp8")]
    [InlineData("mxfp4")]
    [InlineData("nvfp4")]
    public void NaNIsNotHidden(string qtype)
    {
        using var scope = NewDisposeScope();
        int tile = qtype == "nvfp4" ? 16 : 32;
        var x = randn(2, 64);
        x[0, 3] = float.NaN;
        var values = Qwix.Quantize(x, qtype, [0], new Dictionary<int, QwixSharp.Arrays.TileSize> { [1] = tile }).Dequantize();
        Assert.True(values[0, ..tile].isnan().all().item<bool>());
        Assert.False(values[0, tile..].isnan().any().item<bool>());
        Assert.False(values[1].isnan().any().item<bool>());
    }
}
