using System.Text.Json;

namespace QwixSharp.LiteRT.Tests.Files;

[Trait("Category", "LiteRT")]
public sealed class ReadingTests
{
    public static IEnumerable<TheoryDataRow<string>> Official => OfficialFiles.Rows();

    [Theory]
    [MemberData(nameof(Official))]
    public void OfficialFilesAreRead(string file)
    {
        var entry = OfficialFiles.Entry(file);
        var model = LiteRtModel.Open(OfficialFiles.PathOf(file));
        var graph = Assert.Single(model.Subgraphs);
        Assert.Equal(entry.GetProperty("bytes").GetInt64(), model.Length);
        Assert.Equal(entry.GetProperty("ops").EnumerateArray().Select(o => o.GetString()!), graph.Operators.Select(o => o.Name));
        // The index counts tensors of the interpreter, which adds temporary ones.
        Assert.InRange(graph.Tensors.Count, graph.Operators.Count, entry.GetProperty("tensors").GetInt32());
        CheckTensor(entry.GetProperty("input"), graph.Tensors[graph.Inputs[0]]);
        CheckTensor(entry.GetProperty("output"), graph.Tensors[graph.Outputs[0]]);
        Assert.NotEmpty(model.Signatures);
        var text = model.ToString();
        Assert.All(graph.Operators, o => Assert.Contains(o.Name, text));
        Assert.All(graph.Tensors, t => Assert.Contains(t.ToString(), text));
    }

    [Fact]
    public void OptionsAreRead()
    {
        Assert.SkipUnless(OfficialFiles.All.Count > 0, "There are no official files.");
        var model = LiteRtModel.Open(OfficialFiles.PathOf("cnn-float.tflite"));
        var strided = model.Subgraphs[0].Operators.Single(o => o.Name == "CONV_2D");
        Assert.Equal((2, 2, 1, 1), (strided.Options["stride_w"], strided.Options["stride_h"], strided.Options["padding"], strided.Options["fused_activation_function"]));
        Assert.Equal(1, strided.Options["dilation_w_factor"]);
    }

    [Fact]
    public void FilesOfOtherKindsAreRefused()
    {
        Assert.Contains("TFL3", Assert.Throws<LiteRtException>(() => LiteRtModel.Parse(new byte[100])).Message);
        Assert.Throws<LiteRtException>(() => LiteRtModel.Parse(Array.Empty<byte>()));
        Assert.Throws<LiteRtException>(() => LiteRtModel.Parse("\u0010\0\0\0TFL3"u8.ToArray()));
    }

    [Fact]
    public void FilesThatAreTooLargeOrMissingAreRefused()
    {
        var path = Path.GetTempFileName();
        try
        {
            // Nothing is written: the file is one hole.
            using (var file = new FileStream(path, FileMode.Open))
                file.SetLength(3L << 30);
            Assert.Contains("2 GB", Assert.Throws<LiteRtException>(() => LiteRtModel.Open(path)).Message);
        }
        finally
        {
            File.Delete(path);
        }

        Assert.ThrowsAny<IOException>(() => LiteRtModel.Open(path));
    }

    [Theory]
    [InlineData("cnn-float.tflite")]
    [InlineData("attention-static_wi8_ai8.tflite")]
    [InlineData("mlp-weight_only_wi4_afp32.tflite")]
    public void DamagedFilesAreReadSafelyOrRefused(string file)
    {
        Assert.SkipUnless(OfficialFiles.All.Count > 0, "There are no official files.");
        var bytes = File.ReadAllBytes(OfficialFiles.PathOf(file));
        int refused = 0;
        for (int i = 0; i < bytes.Length; i++)
        {
            // Most of a file is weights; the rest is looked at byte by byte.
            if (i % 7 != 0 && i > 2000 && i < bytes.Length - 2000)
                continue;
            byte whole = bytes[i];
            foreach (byte mask in (byte[])[0x01, 0x80, 0xFF])
            {
                bytes[i] = (byte)(whole ^ mask);
                refused += ReadOrRefuse(bytes) ? 0 : 1;
            }

            bytes[i] = whole;
        }

        Assert.True(refused > 100, $"Only {refused} damaged files were refused.");
        for (int length = 0; length < bytes.Length; length += 5)
            ReadOrRefuse(bytes.AsMemory(0, length));
        Assert.True(ReadOrRefuse(bytes));
    }

    private static bool ReadOrRefuse(ReadOnlyMemory<byte> bytes)
    {
        try
        {
            _ = LiteRtModel.Parse(bytes).ToString();
            return true;
        }
        catch (LiteRtException)
        {
            return false;
        }
    }

    private static void CheckTensor(JsonElement expected, LiteRtTensor tensor)
    {
        Assert.Equal(expected.GetProperty("name").GetString(), tensor.Name);
        Assert.Equal(expected.GetProperty("dtype").GetString(), tensor.Type.ToString().ToLowerInvariant());
        Assert.Equal(expected.GetProperty("shape").EnumerateArray().Select(s => s.GetInt32()), tensor.Shape);
        double scale = expected.GetProperty("quantization")[0].GetDouble();
        Assert.Equal(scale, tensor.Quantization?.Scales[0] ?? 0, 1e-9);
        Assert.Equal(expected.GetProperty("quantization")[1].GetInt64(), tensor.Quantization?.ZeroPoints[0] ?? 0);
    }
}
