using QwixSharp.LiteRT.FlatBuffers;

namespace QwixSharp.LiteRT.Tests.Files;

[Trait("Category", "LiteRT")]
public sealed class OpNameTests
{
    [Theory]
    [InlineData(3, "CONV_2D")]
    [InlineData(11, "L2_NORMALIZATION")]
    [InlineData(20, "RELU_N1_TO_1")]
    [InlineData(21, "RELU6")]
    [InlineData(48, "TOPK_V2")]
    [InlineData(60, "PADV2")]
    [InlineData(126, "BATCH_MATMUL")]
    [InlineData(131, "RFFT2D")]
    [InlineData(141, "CONV_3D_TRANSPOSE")]
    [InlineData(152, "RELU_0_TO_1")]
    [InlineData(156, "ATAN2")]
    [InlineData(209, "STABLEHLO_CASE")]
    public void NamesAreSpelledAsInTheSchema(int number, string name) => Assert.Equal(name, ((BuiltinOp)number).Spelled());
}
