using QwixSharp.LiteRT.Tests.Export;
using QwixSharp.LiteRT.Tests.Runtime;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Integers;

/// <summary>Ops on integers, each alone.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class IntegerOpTests(LiteRtRuntime runtime)
{
    public static IEnumerable<string> Names => OpCases.All.Keys.Where(n => OpCases.All[n]().Model is nn.Module<Tensor, Tensor>);
    public static TheoryData<string> All => [.. Names];

    [Theory]
    [MemberData(nameof(All))]
    public void Int8(string name) => Check(name, "int8");

    [Theory]
    [MemberData(nameof(All))]
    public void Int16(string name) => Check(name, "int16");

    private void Check(string name, string activations)
    {
        using var scope = NewDisposeScope();
        var (model, inputs) = OpCases.All[name]();
        var file = OnDevice.Check(runtime, (nn.Module<Tensor, Tensor>)model, inputs, OnDevice.Static(activations: activations));
        TestContext.Current.TestOutputHelper?.WriteLine(string.Join(' ', file.Subgraphs[0].Operators.Select(o => o.Name)));
    }
}
