using QwixSharp.LiteRT.Tests.Runtime;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Export;

[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class OpTests(LiteRtRuntime runtime)
{
    public static TheoryData<string> Names => [.. OpCases.All.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void AFileOfOneOpGivesWhatTheOpGives(string name)
    {
        using var scope = NewDisposeScope();
        manual_seed(11);
        var (model, inputs) = OpCases.All[name]();
        Exported.Check(runtime, model, inputs);
    }
}
