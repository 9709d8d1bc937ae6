using System.Reflection;
using System.Text.RegularExpressions;
using QwixSharp.Interception;
using QwixSharp.Providers;
using QwixSharp.Providers.Odml;
using QwixSharp.Tests.Interception;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers.Odml;

public partial class OdmlOpTableTests
{
    /// <summary>One of each family: its deeper models repeat the same ops.</summary>
    public static TheoryData<string> TorchVision =>
        ["alexnet", "mobilenet_v2", "mobilenet_v3_small", "googlenet", "inception_v3", "resnet18", "resnet50", "resnext50_32x4d", "vgg11", "vgg11_bn"];

    /// <summary>An entry that no op has would be a misspelt one.</summary>
    [Fact]
    public void EveryEntryIsAnOpOfTorchSharp()
    {
        const BindingFlags all = BindingFlags.Public | BindingFlags.Static | BindingFlags.Instance | BindingFlags.DeclaredOnly;
        var names = new[] { typeof(Tensor), typeof(torch), typeof(nn.functional), typeof(special) }
            .SelectMany(t => t.GetMethods(all))
            .Where(OpClassifier.IsOp)
            .Select(m => OpNaming.Of(OpDescriptor.Of(m)))
            .ToHashSet();
        Assert.All(OdmlOpTable.Ops.Keys, k => Assert.Contains(k, names));
    }

    /// <summary>What can be exported can be quantized for devices first.</summary>
    [Fact]
    public void EveryOpThatCanBeExportedIsKnown()
    {
        var page = File.ReadAllText(Path.Combine(RepositoryFolder.Path, "docs/litert.md"));
        var table = page[page.IndexOf("## Ops", StringComparison.Ordinal)..].Split('\n').Where(l => l.StartsWith("| ", StringComparison.Ordinal)).Select(l => l.Split('|')[2]);
        var exported = table.SelectMany(cell => Code().Matches(cell)).Select(m => m.Groups[1].Value).ToHashSet();
        var names = new[] { typeof(Tensor), typeof(torch), typeof(nn.functional), typeof(special) }
            .SelectMany(t => t.GetMethods())
            .Where(m => exported.Contains(m.Name) && OpClassifier.IsOp(m))
            .Select(m => OpNaming.Of(OpDescriptor.Of(m)))
            .ToHashSet();
        Assert.True(names.Count > 100);
        Assert.Empty(names.Except(OdmlOpTable.Ops.Keys));
    }

    [Theory]
    [InlineData("add", "add")]
    [InlineData("add_", "add")]
    [InlineData("op_Addition", "add")]
    [InlineData("true_divide", "div")]
    [InlineData("relu_", "relu")]
    [InlineData("clip", "clamp")]
    public void FormsOfAnOpShareAName(string method, string name)
    {
        var found = typeof(Tensor).GetMethods().First(m => m.Name == method && OpClassifier.IsOp(m));
        Assert.Equal(name, OpNaming.Of(OpDescriptor.Of(found)));
    }

    [Fact]
    public void MaximumOfTwoAndMaximumAlongAnAxisAreTwoOps()
    {
        string Name(Type type, params Type[] parameters) => OpNaming.Of(OpDescriptor.Of(type.GetMethod("max", parameters)!));
        Assert.Equal("maximum", Name(typeof(Tensor), typeof(Tensor)));
        Assert.Equal("maximum", Name(typeof(torch), typeof(Tensor), typeof(Tensor)));
        Assert.Equal("max", Name(typeof(torch), typeof(Tensor)));
    }

    [Theory]
    [MemberData(nameof(TorchVision))]
    public void EveryOpOfTorchVisionsModelsIsKnown(string name)
    {
        using var scope = NewDisposeScope();
        using var model = TorchVisionTests.Make(name);
        using var qat = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8), zeros(TorchVisionTests.InputShape(name)));
        Assert.Contains("final_output0", qat.QuantStats.Places);
    }

    [GeneratedRegex("`(\\w+)`")]
    private static partial Regex Code();
}
