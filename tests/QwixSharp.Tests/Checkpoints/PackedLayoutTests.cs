using System.Text.Json.Nodes;
using QwixSharp.Checkpoints;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>
/// Layouts of packed integers with sizes that no golden folder need have: groups that do not divide, one group, groups in
/// activation order, other bits. Expected values are made one by one, from each format's definition.
/// </summary>
public sealed class PackedLayoutTests : IDisposable
{
    private static readonly int[] AwqFields = [0, 4, 1, 5, 2, 6, 3, 7];

    private readonly TemporaryFolder _folder = new();
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Random _random = new(5);

    public void Dispose()
    {
        _scope.Dispose();
        _folder.Dispose();
    }

    /// <summary>Bits, outputs, inputs, group size, format, symmetric, activation order, whether a QArray can hold it.</summary>
    public static TheoryData<int, int, int, int, string, bool, bool, bool> Gptq => new()
    {
        { 4, 16, 64, 32, "gptq", false, false, true },
        { 4, 24, 64, 16, "gptq_v2", false, false, true },
        { 4, 16, 64, 64, "gptq", true, false, true },
        { 4, 16, 40, 16, "gptq", false, false, false },
        { 4, 16, 64, 16, "gptq_v2", true, true, false },
        { 8, 12, 32, 8, "gptq", false, false, true },
        { 2, 16, 32, 16, "gptq", true, false, true },
        { 2, 16, 32, 16, "gptq_v2", false, false, false },
    };

    [Theory]
    [MemberData(nameof(Gptq))]
    public void GptqIsReadAsDefined(int bits, int outputs, int inputs, int group, string format, bool isSymmetric, bool inOrder, bool hasQArray)
    {
        int perWord = 32 / bits, range = 1 << bits, groups = (inputs + group - 1) / group, bias = format == "gptq" ? 1 : 0;
        int[] groupOf = [.. Enumerable.Range(0, inputs).Select(i => inOrder ? (i * 7 % inputs) / group : i / group)];
        var (codes, zeros, scales) = (Codes(outputs, inputs, range), Codes(groups, outputs, range), Scales(groups, outputs));
        if (isSymmetric)
            Fill(zeros, range / 2);
        Write(
            new JsonObject { ["quant_method"] = "gptq", ["checkpoint_format"] = format, ["bits"] = bits, ["group_size"] = group, ["sym"] = isSymmetric, ["desc_act"] = inOrder },
            ("m.qweight", Words(inputs / perWord, outputs, (r, c, f) => codes[c, (r * perWord) + f], bits)),
            ("m.qzeros", Words(groups, (outputs + perWord - 1) / perWord, (r, c, f) => (c * perWord) + f < outputs ? (zeros[r, (c * perWord) + f] - bias) & (range - 1) : 0, bits)),
            ("m.scales", tensor(scales)),
            ("m.g_idx", tensor(groupOf)),
            ("m.bias", ones(outputs)));
        AssertReads("m.weight", outputs, inputs, (o, i) => scales[groupOf[i], o] * (codes[o, i] - zeros[groupOf[i], o]), hasQArray);
    }

    [Theory]
    [InlineData(8, 32, 32, true)]
    [InlineData(24, 33, 11, true)]
    [InlineData(16, 64, 16, false)]
    public void AwqIsReadAsDefined(int outputs, int inputs, int group, bool hasZeroPoint)
    {
        int groups = inputs / group;
        var (codes, zeros, scales) = (Codes(outputs, inputs, 16), Codes(groups, outputs, 16), Scales(groups, outputs));
        if (!hasZeroPoint)
            Fill(zeros, 8);
        List<(string, Tensor)> tensors =
        [
            ("m.qweight", Words(inputs, outputs / 8, (r, c, f) => codes[(c * 8) + Array.IndexOf(AwqFields, f), r], 4)),
            ("m.scales", tensor(scales)),
        ];
        if (hasZeroPoint)
            tensors.Add(("m.qzeros", Words(groups, outputs / 8, (r, c, f) => zeros[r, (c * 8) + Array.IndexOf(AwqFields, f)], 4)));
        Write(new JsonObject { ["quant_method"] = "awq", ["version"] = "gemm", ["bits"] = 4, ["group_size"] = group, ["zero_point"] = hasZeroPoint }, [.. tensors]);
        AssertReads("m.weight", outputs, inputs, (o, i) => scales[i / group, o] * (codes[o, i] - zeros[i / group, o]), hasQArray: true);
    }

    /// <summary>Bits, outputs, inputs, group size or 0, whether there are zero points, whether in activation order, whether a QArray can hold it.</summary>
    public static TheoryData<int, int, int, int, bool, bool, bool> Packed => new()
    {
        { 4, 5, 64, 32, false, false, true },
        { 4, 11, 37, 0, true, false, true },
        { 4, 9, 48, 32, true, false, false },
        { 8, 7, 30, 10, false, false, true },
        { 8, 7, 30, 10, true, false, true },
        { 4, 8, 64, 16, false, true, false },
        { 2, 8, 32, 16, false, false, true },
        { 2, 18, 32, 16, true, false, false },
    };

    [Theory]
    [MemberData(nameof(Packed))]
    public void PackedCompressedTensorsAreReadAsDefined(int bits, int outputs, int inputs, int group, bool hasZeroPoint, bool inOrder, bool hasQArray)
    {
        int size = group == 0 ? inputs : group, groups = (inputs + size - 1) / size, perWord = 32 / bits, half = 1 << (bits - 1);
        int[] groupOf = [.. Enumerable.Range(0, inputs).Select(i => inOrder ? (i * 5 % inputs) / size : i / size)];
        var (codes, zeros, scales) = (Codes(outputs, inputs, 2 * half), Codes(outputs, groups, 2 * half), Scales(outputs, groups));
        if (!hasZeroPoint)
            Fill(zeros, half);
        List<(string, Tensor)> tensors =
        [
            ("m.weight_packed", Words(outputs, (inputs + perWord - 1) / perWord, (r, c, f) => (c * perWord) + f < inputs ? codes[r, (c * perWord) + f] : 0, bits)),
            ("m.weight_shape", tensor([(long)outputs, inputs])),
            ("m.weight_scale", tensor(scales)),
        ];
        if (hasZeroPoint)
            tensors.Add(("m.weight_zero_point", Words((outputs + perWord - 1) / perWord, groups, (r, c, f) => (r * perWord) + f < outputs ? zeros[(r * perWord) + f, c] : 0, bits)));
        if (inOrder)
            tensors.Add(("m.weight_g_idx", tensor(groupOf)));
        var weights = new JsonObject { ["num_bits"] = bits, ["type"] = "int", ["strategy"] = group == 0 ? "channel" : "group", ["group_size"] = group == 0 ? null : group, ["symmetric"] = !hasZeroPoint };
        Write(CompressedConfig("pack-quantized", weights), [.. tensors]);
        AssertReads("m.weight", outputs, inputs, (o, i) => scales[o, groupOf[i]] * (codes[o, i] - zeros[o, groupOf[i]]), hasQArray);
    }

    [Theory]
    [InlineData(96, 64, 32, 32, true)]
    [InlineData(50, 70, 32, 32, false)]
    [InlineData(8, 64, 32, 16, true)]
    public void BlocksOfFp8MayStickOut(int outputs, int inputs, int rows, int columns, bool hasQArray)
    {
        var codes = randint(0, 0x7F, [outputs, inputs]).to(ScalarType.Byte);
        var scales = Scales((outputs + rows - 1) / rows, (inputs + columns - 1) / columns);
        var weights = new JsonObject { ["num_bits"] = 8, ["type"] = "float", ["strategy"] = "block", ["block_structure"] = new JsonArray(rows, columns), ["symmetric"] = true };
        Write(CompressedConfig("float-quantized", weights), [("m.weight_scale", tensor(scales))], [("m.weight", CheckpointDtype.Float8E4M3Fn, codes)]);
        var values = MiniFloat.E4M3Fn.DecodeTable;
        AssertReads("m.weight", outputs, inputs, (o, i) => values[codes[o, i].item<byte>()] * scales[o / rows, i / columns], hasQArray);
    }

    /// <summary>Shape, block size, whether scales are quantized too, whether a QArray can hold it.</summary>
    public static TheoryData<int, int, int, bool, bool> Nf4 => new()
    {
        { 4, 128, 64, false, true },
        { 6, 32, 64, true, true },
        { 3, 33, 64, false, false },
        { 5, 96, 64, true, false },
        { 7, 64, 64, true, true },
    };

    [Theory]
    [MemberData(nameof(Nf4))]
    public void Nf4IsReadAsDefined(int outputs, int inputs, int block, bool isNested, bool hasQArray)
    {
        const int nestedBlock = 4;
        int count = outputs * inputs, blocks = (count + block - 1) / block;
        var codes = Codes(1, count + 1, 16);
        codes[0, count] = 0;
        var bytes = tensor([.. Enumerable.Range(0, (count + 1) / 2).Select(i => (byte)((codes[0, 2 * i] << 4) | codes[0, (2 * i) + 1]))]);
        var levels = NormalFloat4.Levels;
        var scales = Scales(1, blocks);
        var state = new JsonObject { ["quant_type"] = "nf4", ["blocksize"] = block, ["dtype"] = "float32", ["shape"] = new JsonArray(outputs, inputs) };
        List<(string, Tensor)> tensors = [("m.weight", bytes), ("m.weight.quant_map", tensor(levels))];
        if (isNested)
        {
            var map = Scales(1, 256);
            var nestedCodes = Codes(1, blocks, 256);
            var nestedScales = Scales(1, (blocks + nestedBlock - 1) / nestedBlock);
            state["nested_blocksize"] = nestedBlock;
            state["nested_offset"] = 0.25f;
            for (int i = 0; i < blocks; i++)
                scales[0, i] = (map[0, nestedCodes[0, i]] * nestedScales[0, i / nestedBlock]) + 0.25f;
            tensors.AddRange(
            [
                ("m.weight.absmax", tensor([.. nestedCodes.Cast<int>().Select(c => (byte)c)])),
                ("m.weight.nested_quant_map", tensor(map.Cast<float>().ToArray())),
                ("m.weight.nested_absmax", tensor(nestedScales.Cast<float>().ToArray())),
            ]);
        }
        else
        {
            tensors.Add(("m.weight.absmax", tensor(scales.Cast<float>().ToArray())));
        }

        tensors.Add(("m.weight.quant_state.bitsandbytes__nf4", tensor(System.Text.Encoding.UTF8.GetBytes(state.ToJsonString()))));
        Write(new JsonObject { ["quant_method"] = "bitsandbytes", ["load_in_4bit"] = true }, [.. tensors]);
        AssertReads("m.weight", outputs, inputs, (o, i) => levels[codes[0, (o * inputs) + i]] * scales[0, ((o * inputs) + i) / block], hasQArray);
    }

    private static JsonObject CompressedConfig(string format, JsonObject weights) => new()
    {
        ["quant_method"] = "compressed-tensors",
        ["format"] = format,
        ["config_groups"] = new JsonObject { ["group_0"] = new JsonObject { ["targets"] = new JsonArray("Linear"), ["weights"] = weights } },
    };

    private static void Fill(int[,] values, int value)
    {
        for (int i = 0; i < values.Length; i++)
            values[i / values.GetLength(1), i % values.GetLength(1)] = value;
    }

    /// <summary>Words [rows, columns] of fields, the first in the lowest bits.</summary>
    private static Tensor Words(int rows, int columns, Func<int, int, int, int> field, int bits)
    {
        var words = new int[rows, columns];
        for (int r = 0; r < rows; r++)
        {
            for (int c = 0; c < columns; c++)
            {
                for (int f = 0; f < 32 / bits; f++)
                    words[r, c] |= field(r, c, f) << (f * bits);
            }
        }

        return tensor(words);
    }

    private int[,] Codes(int rows, int columns, int range) => Make(rows, columns, () => _random.Next(range));

    private float[,] Scales(int rows, int columns) => Make(rows, columns, () => _random.NextSingle() + 0.5f);

    private static T[,] Make<T>(int rows, int columns, Func<T> next)
    {
        var values = new T[rows, columns];
        for (int i = 0; i < values.Length; i++)
            values[i / columns, i % columns] = next();
        return values;
    }

    private void Write(JsonObject quantization, params (string Name, Tensor Values)[] tensors) => Write(quantization, tensors, []);

    private void Write(JsonObject quantization, (string Name, Tensor Values)[] tensors, (string Name, CheckpointDtype Dtype, Tensor Bits)[] bits)
    {
        File.WriteAllText(_folder["config.json"], new JsonObject { ["quantization_config"] = quantization }.ToJsonString());
        using var writer = SafetensorsWriter.Create(_folder["model.safetensors"], [.. tensors.Select(t => TensorEntry.Of(t.Name, t.Values)), .. bits.Select(b => new TensorEntry(b.Name, b.Dtype, b.Bits.shape))]);
        foreach (var (name, values) in tensors)
            writer.Write(name, values);
        foreach (var (name, _, values) in bits)
            writer.Write(name, values);
        writer.Complete();
    }

    private void AssertReads(string name, int outputs, int inputs, Func<int, int, float> value, bool hasQArray)
    {
        using var checkpoint = Checkpoint.Open(_folder.Path);
        var weight = checkpoint.LogicalTensors.Single(t => t.Name == name);
        Assert.Equal([outputs, inputs], weight.Shape);
        float[] expected = [.. Enumerable.Range(0, outputs * inputs).Select(i => value(i / inputs, i % inputs))];
        Assert.Equal(expected, weight.ReadFloat(ScalarType.Float32).contiguous().data<float>().ToArray());
        Assert.Equal(hasQArray, weight.Quantization is not null);
        Assert.All(checkpoint.LogicalTensors, t => Assert.True(t.IsQuantized || t.Name == "m.bias"));
        if (hasQArray)
            Assert.Equal(expected, weight.ReadQuantized().Dequantize().contiguous().data<float>().ToArray());
        else
            Assert.Contains(name, Assert.Throws<InvalidOperationException>(weight.ReadQuantized).Message);
    }
}
