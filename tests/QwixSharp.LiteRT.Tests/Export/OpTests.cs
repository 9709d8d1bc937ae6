using QwixSharp.LiteRT.Tests.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Export;

[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class OpTests(LiteRtRuntime runtime)
{
    public static TheoryData<string> Names => [.. OpCases.All.Keys];

    /// <summary>
    /// On some CPUs (Zen 5) libtorch 2.10's oneDNN gets these wrong in single precision: dilated transposed convolutions read memory that was never
    /// written, and LSTMs without gradients differ by tenths. Double precision does not use oneDNN.
    /// </summary>
    private static readonly HashSet<string> Inexact = ["conv_transpose2d dilated", "lstm"];

    [Theory]
    [MemberData(nameof(Names))]
    public void AFileOfOneOpGivesWhatTheOpGives(string name)
    {
        using var scope = NewDisposeScope();
        manual_seed(11);
        var (model, inputs) = OpCases.All[name]();
        Exported.Check(runtime, model, inputs, expected: Inexact.Contains(name) ? InDoublePrecision(model, inputs) : null);
    }

    private static Tensor[] InDoublePrecision(nn.Module model, Tensor[] inputs)
    {
        model.eval();
        model.to(ScalarType.Float64);
        Tensor[] exact = [.. Exported.Call(model, [.. inputs.Select(x => x.to(ScalarType.Float64))]).Select(y => y.to(ScalarType.Float32))];
        model.to(ScalarType.Float32);
        return exact;
    }
}
