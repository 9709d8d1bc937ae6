using QwixSharp.LiteRT.Tests.Runtime;
using QwixSharp.Tests.Golden;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Files;

/// <summary>The runtime in Node gives what the official interpreter gave, so that it can judge our files.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class RuntimeTests(LiteRtRuntime runtime)
{
    public static IEnumerable<TheoryDataRow<string>> Official => OfficialFiles.Rows();

    [Theory]
    [MemberData(nameof(Official))]
    public void TheRuntimeAnswersAsTheOfficialInterpreter(string file)
    {
        var name = Path.GetFileNameWithoutExtension(file);
        var tensors = new SafetensorsFile(OfficialFiles.PathOf(name.Split('-')[0] + ".safetensors"));
        using var input = tensors.Read(tensors.Names.Contains(name + ".input") ? name + ".input" : "input");
        using var expected = tensors.Read(name + ".output");
        using var output = Assert.Single(runtime.Run(OfficialFiles.PathOf(file), input)).ToTensor();
        Assert.Equal(expected.shape, output.shape);
        using var difference = (output.to(ScalarType.Float64) - expected.to(ScalarType.Float64)).abs().max();
        Assert.InRange(difference.item<double>(), 0, expected.is_floating_point() ? 1e-6 : 0);
    }

    [Fact]
    public void FailuresOfTheRuntimeAreReported()
    {
        Assert.SkipUnless(OfficialFiles.All.Count > 0, "There are no official files.");
        using var wrong = zeros(3);
        Assert.Throws<InvalidOperationException>(() => runtime.Run(OfficialFiles.PathOf("cnn-float.tflite"), wrong));
    }
}
