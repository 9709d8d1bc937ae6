using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.CompressedTensors;
using QwixSharp.Tests.Checkpoints;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

/// <summary>Checkpoints that the libraries wrote which own their formats: each is read as what that library makes of it.</summary>
[Trait("Category", "Golden")]
[Trait("Family", "formats")]
public class FormatGoldenTests
{
    private const string Expected = "expected.safetensors";
    private const string SourcePrefix = "source.";

    public static IEnumerable<TheoryDataRow<string>> Folders() => FormatFolders.Rows(name => !name.StartsWith("peft-", StringComparison.Ordinal));

    public static IEnumerable<TheoryDataRow<string>> CompressedTensors() => FormatFolders.Rows(name => name.StartsWith("ct-", StringComparison.Ordinal));

    [Theory]
    [MemberData(nameof(Folders))]
    public void ReadsWhatTheOwningLibraryReads(string folder)
    {
        using var scope = NewDisposeScope();
        using var checkpoint = Checkpoint.Open(FormatFile.Of(folder));
        var expected = new SafetensorsFile(Path.Combine(FormatFolders.Folder(folder), Expected));
        var names = expected.Names.Where(n => !n.StartsWith(SourcePrefix, StringComparison.Ordinal)).Order(StringComparer.Ordinal).ToList();
        Assert.Equal(names, checkpoint.LogicalTensors.Select(t => t.Name).Order(StringComparer.Ordinal));
        foreach (var tensor in checkpoint.LogicalTensors)
        {
            using var inner = NewDisposeScope();
            var values = expected.Read(tensor.Name);
            var actual = tensor.ReadFloat(ScalarType.Float32);
            Assert.Equal(values.shape, tensor.Shape);
            GoldenValue.AssertBits(tensor.Name, values, actual);
            Assert.Equal(tensor.Dtype, tensor.ReadFloat().dtype);
        }
    }

    [Theory]
    [MemberData(nameof(Folders))]
    public void NoTensorStaysBehind(string folder)
    {
        using var checkpoint = Checkpoint.Open(FormatFile.Of(folder));
        long before = DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        foreach (var tensor in checkpoint.LogicalTensors)
        {
            tensor.ReadFloat(ScalarType.Float64).Dispose();
            if (tensor.Quantization is not null)
                tensor.ReadQuantized().Dispose();
        }

        Assert.Equal(before, DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount);
    }

    [Theory]
    [MemberData(nameof(CompressedTensors))]
    public void RulesQuantizeAsTheCheckpointIs(string folder)
    {
        using var checkpoint = Checkpoint.Open(FormatFile.Of(folder));
        var rules = checkpoint.Layout.ReadRules(checkpoint)!;
        foreach (var weight in checkpoint.LogicalTensors.OfType<CompressedTensorsWeight>().Where(w => w.Quantization is not null))
        {
            var rule = Assert.Single(rules, r => System.Text.RegularExpressions.Regex.IsMatch(weight.Module, $"^(?:{r.ModulePath})$"));
            Assert.Equal(weight.Quantization!.QType, rule.WeightQType);
            Assert.Equal(weight.Activations?.QType, rule.ActQType);
            Assert.Equal(weight.Quantization.ScaleShape[1] > 1, rule.TileSize is not null);
            Assert.Equal(weight.Quantization.HasZeroPoint, !rule.WeightCalibrationMethod.IsSymmetric);
            if (weight.ReadInputScale() is { } scale)
                Assert.Equal(scale * rule.ActQType!.SymmetricBound, rule.ActCalibrationMethod!.Max, scale);
        }
    }

    [Theory]
    [MemberData(nameof(Folders))]
    public void QArraysAreTheSameValues(string folder)
    {
        using var scope = NewDisposeScope();
        using var checkpoint = Checkpoint.Open(FormatFile.Of(folder));
        foreach (var tensor in checkpoint.LogicalTensors)
        {
            if (tensor.Quantization is not { } quantization)
            {
                Assert.Throws<InvalidOperationException>(tensor.ReadQuantized);
                continue;
            }

            using var inner = NewDisposeScope();
            var array = tensor.ReadQuantized();
            Assert.Equal(tensor.Shape, array.Shape.ToArray());
            Assert.Equal(quantization.QType, array.QType);
            Assert.Equal(quantization.ScaleShape, array.ScaleShape.ToArray());
            Assert.Equal(quantization.HasZeroPoint, array.ZeroPoint is not null);
            GoldenValue.AssertBits(tensor.Name, tensor.ReadFloat(ScalarType.Float32), array.To(ScalarType.Float32).Dequantize());
        }
    }
}

/// <summary>The checkpoint in a folder of the family <c>formats</c>.</summary>
internal static class FormatFile
{
    /// <summary>A single file that is not what is expected of it, else the folder.</summary>
    public static string Of(string folder) =>
        Directory.GetFiles(FormatFolders.Folder(folder)).FirstOrDefault(f => Path.GetExtension(f) is ".gguf" or ".bin" or ".pt") ?? FormatFolders.Folder(folder);
}
