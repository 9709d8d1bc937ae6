using static TorchSharp.torch;

namespace QwixSharp.Tests.Arrays;

public class NotANumberTests
{
    public static TheoryData<string, float, ScalarType> Cases =>
    [
        .. from qtype in (string[])["int8", "int4", "fp8", "float8_e5m2", "nf4", "mxfp8", "mxfp4", "nvfp4"]
        from value in (float[])[float.NaN, float.PositiveInfinity, float.NegativeInfinity]
        from dtype in (ScalarType[])[ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float16]
        select (qtype, value, dtype),
    ];

    /// <summary>A value that is not finite shows in all that shares its scale, and in nothing else.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void WhatIsNotFiniteIsNotHidden(string qtype, float value, ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        int tile = qtype == "nvfp4" ? 16 : 32;
        var x = randn(2, 64).to(dtype);
        x[0, 3] = value;
        var values = Qwix.Quantize(x, qtype, [0], new Dictionary<int, QwixSharp.Arrays.TileSize> { [1] = tile }).Dequantize();
        Assert.True(values[0, ..tile].isnan().all().item<bool>());
        Assert.False(values[0, tile..].isnan().any().item<bool>());
        Assert.False(values[1].isnan().any().item<bool>());
    }
}
