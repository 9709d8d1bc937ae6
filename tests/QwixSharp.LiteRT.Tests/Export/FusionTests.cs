using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Export;

/// <summary>What becomes part of another op, and what is computed once: the ops that a file has.</summary>
[Trait("Category", "LiteRT")]
public sealed class FusionTests
{
    private static readonly Dictionary<string, (Func<nn.Module> Model, long[] Shape, string Ops)> Cases = new()
    {
        ["convolution and relu"] = (() => nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), [1, 3, 8, 8], "CONV_2D"),
        ["convolution, batch norm and relu6"] = (() => nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6()), [1, 3, 8, 8], "CONV_2D"),
        ["padding of the same size"] = (() => nn.Conv2d(3, 4, 3, padding: 1), [1, 3, 8, 8], "CONV_2D"),
        ["depthwise, batch norm and relu"] = (() => nn.Sequential(nn.Conv2d(3, 3, 3, groups: 3, padding: 1), nn.BatchNorm2d(3), nn.ReLU()), [1, 3, 8, 8], "DEPTHWISE_CONV_2D"),
        ["transposed and batch norm"] = (() => nn.Sequential(nn.ConvTranspose2d(3, 4, 2, stride: 2), nn.BatchNorm2d(4)), [1, 3, 8, 8], "TRANSPOSE_CONV"),
        ["linear and relu"] = (() => nn.Sequential(nn.Linear(5, 7), nn.ReLU()), [2, 5], "FULLY_CONNECTED"),
        ["linear, batch norm and relu"] = (() => nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU()), [2, 5], "FULLY_CONNECTED"),
        ["a scale before softmax"] = (() => new Function(x => nn.functional.softmax(x / 8, -1)), [2, 5], "SOFTMAX"),
        ["dropout"] = (() => nn.Sequential(nn.Linear(5, 7), nn.Dropout(0.5)), [2, 5], "FULLY_CONNECTED"),
        ["constants"] = (() => new Function(x => x * (ones(5) * 3).exp().sqrt()), [2, 5], "MUL"),
        ["images between convolutions"] = (() => nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.SiLU(), nn.Conv2d(4, 2, 1)), [1, 3, 8, 8], "CONV_2D MAX_POOL_2D LOGISTIC MUL CONV_2D"),
        ["a flattened image"] = (() => nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)), [1, 3, 8, 8], "CONV_2D RESHAPE FULLY_CONNECTED"),
    };

    public static TheoryData<string> Names => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void TheFileHasTheseOps(string name)
    {
        using var scope = NewDisposeScope();
        var (make, shape, ops) = Cases[name];
        var file = LiteRtConverter.Convert(make(), [zeros(shape)], new LiteRtOptions { ChannelsLast = true }).Inspect();
        Assert.Equal(ops, string.Join(' ', file.Subgraphs[0].Operators.Select(o => o.Name)));
    }
}
