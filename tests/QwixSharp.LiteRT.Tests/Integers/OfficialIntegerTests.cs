using QwixSharp.LiteRT.Tests.Files;
using QwixSharp.LiteRT.Tests.Models;
using QwixSharp.LiteRT.Tests.Runtime;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Integers;

/// <summary>The three models under each scheme are no larger than the official quantizer's files.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class OfficialIntegerTests(LiteRtRuntime runtime)
{
    public static TheoryData<string, string> Cases()
    {
        var cases = new TheoryData<string, string>();
        foreach (var model in (string[])["cnn", "mlp", "attention"])
        {
            foreach (var scheme in (string[])["static_wi8_ai8", "static_wi8_ai16", "dynamic_wi8_afp32", "dynamic_wi4_afp32", "weight_only_wi8_afp32", "weight_only_wi4_afp32"])
                cases.Add(model, scheme);
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void FilesAreNoLargerThanTheOfficial(string name, string scheme)
    {
        Assert.SkipUnless(OfficialFiles.All.Count > 0, "There are no official files.");
        using var scope = NewDisposeScope();
        var model = OfficialModels.Load(name);
        var input = OfficialModels.Tensors(name).Read("input");
        var weights = scheme.Contains("wi4") ? "int4" : "int8";
        QuantizationRule[] rules = scheme.Split('_')[0] switch
        {
            "static" => OnDevice.Static(weights, scheme.EndsWith("ai16", StringComparison.Ordinal) ? "int16" : "int8"),
            "dynamic" => [new() { WeightQType = weights, ActQType = "int8", ActStaticScale = false }],
            _ => [new() { WeightQType = weights }],
        };
        Tensor[] batches = [input, .. Enumerable.Range(0, name == "cnn" ? 40 : 8).Select(i => randn(input.shape, generator: new Generator((ulong)i)))];
        var ours = OnDevice.Check(runtime, model, batches, rules);
        var official = OfficialFiles.Entry($"{name}-{scheme}.tflite");
        TestContext.Current.TestOutputHelper?.WriteLine($"{string.Join(' ', ours.Subgraphs[0].Operators.Select(o => o.Name))}; {ours.Length} bytes against {official.GetProperty("bytes")}, {ours.Subgraphs[0].Operators.Count} ops against {official.GetProperty("ops").GetArrayLength()}");
        Assert.InRange(ours.Subgraphs[0].Operators.Count, 1, official.GetProperty("ops").GetArrayLength());
        Assert.InRange(ours.Length, 1, official.GetProperty("bytes").GetInt64());
        if (name == "cnn")
            Assert.DoesNotContain(ours.Subgraphs[0].Operators, o => o.Name == "TRANSPOSE");
    }
}
