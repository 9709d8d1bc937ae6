using QwixSharp.LiteRT.Tests.Export;
using QwixSharp.LiteRT.Tests.Files;
using QwixSharp.LiteRT.Tests.Runtime;

namespace QwixSharp.LiteRT.Tests.Models;

/// <summary>Our files of the three models are no larger than those of the official converter, and give the same.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class OfficialModelTests(LiteRtRuntime runtime)
{
    [Theory]
    [InlineData("cnn")]
    [InlineData("mlp")]
    [InlineData("attention")]
    public void FloatFilesAreNoLargerThanTheOfficial(string name)
    {
        Assert.SkipUnless(OfficialFiles.All.Count > 0, "There are no official files.");
        using var model = OfficialModels.Load(name);
        var tensors = OfficialModels.Tensors(name);
        using var input = tensors.Read("input");
        using var expected = tensors.Read("torch");
        Exported.Compare(expected, model.call(input), 1e-5);
        var ours = Exported.Check(runtime, model, [input]);
        var official = OfficialFiles.Entry(name + "-float.tflite");
        Assert.InRange(ours.Subgraphs[0].Operators.Count, 1, official.GetProperty("ops").GetArrayLength());
        Assert.InRange(ours.Length, 1, official.GetProperty("bytes").GetInt64());
        TestContext.Current.TestOutputHelper?.WriteLine($"{string.Join(' ', ours.Subgraphs[0].Operators.Select(o => o.Name))}; {ours.Length} bytes against {official.GetProperty("bytes")}");
        if (name == "cnn")
            Assert.DoesNotContain(ours.Subgraphs[0].Operators, o => o.Name == "TRANSPOSE");
    }
}
