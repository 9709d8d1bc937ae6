using System.Text.Json;
using QwixSharp.Numerics;

namespace QwixSharp.Checkpoints.CompressedTensors;

/// <summary>How weights of one group of modules are quantized.</summary>
/// <param name="QType">The type of the codes.</param>
/// <param name="Strategy">What shares a scale: <c>tensor</c>, <c>channel</c>, <c>group</c> or <c>block</c>.</param>
/// <param name="RowTile">The outputs that share a scale; 0 for all.</param>
/// <param name="ColumnTile">The inputs that share a scale; 0 for all.</param>
/// <param name="IsSymmetric">Whether there are no zero points.</param>
internal sealed record CompressedTensorsScheme(QType QType, string Strategy, long RowTile, long ColumnTile, bool IsSymmetric)
{
    /// <summary>The scheme of a tensor's quantization.</summary>
    internal static CompressedTensorsScheme Of(ReadOnlySpan<long> shape, TensorQuantization quantization)
    {
        long rows = quantization.ScaleShape[0], columns = quantization.ScaleShape[1];
        long rowTile = rows == 1 ? 0 : shape[0] / rows, columnTile = columns == 1 ? 0 : shape[1] / columns;
        bool isSymmetric = !quantization.HasZeroPoint;
        return (rowTile, columnTile) switch
        {
            (0, 0) => new(quantization.QType, "tensor", 0, 0, isSymmetric),
            (1, 0) => new(quantization.QType, "channel", 1, 0, isSymmetric),
            (1, _) => new(quantization.QType, "group", 1, columnTile, isSymmetric),
            _ => new(quantization.QType, "block", rowTile == 0 ? shape[0] : rowTile, columnTile == 0 ? shape[1] : columnTile, isSymmetric),
        };
    }

    /// <summary>Reads what a <c>quantization_config</c> says of weights or activations.</summary>
    /// <exception cref="FormatException">It is not readable; so are the errors of missing and mistyped JSON.</exception>
    internal static CompressedTensorsScheme Parse(JsonElement json)
    {
        int bits = json.GetProperty("num_bits").GetInt32();
        string type = json.GetProperty("type").GetString()!;
        var qtype = (type, bits) switch
        {
            ("int", >= 2 and <= 8) => QType.Parse($"int{bits}"),
            ("float", 8) => QType.Float8E4M3Fn,
            _ => throw new FormatException($"{type} of {bits} bits is not read"),
        };
        string strategy = Optional(json, "strategy")?.GetString() ?? (Optional(json, "group_size") is null ? "tensor" : "group");
        bool isSymmetric = Optional(json, "symmetric")?.GetBoolean() ?? true;
        var (rowTile, columnTile) = strategy switch
        {
            "tensor" => (0, 0),
            "channel" or "token" => (1, 0),
            "group" or "tensor_group" => (1, Optional(json, "group_size")?.GetInt64() is { } size and > 0 ? size : 0),
            "block" => Block(json),
            _ => throw new FormatException($"the strategy {strategy} is not read"),
        };
        return new CompressedTensorsScheme(qtype, strategy, rowTile, columnTile, isSymmetric);
    }

    /// <summary>The shape of the scales of a weight.</summary>
    internal (long Rows, long Columns) ScaleShape(ReadOnlySpan<long> shape) => (Tiles(shape[0], RowTile), Tiles(shape[1], ColumnTile));

    /// <summary>Writes the scheme as <see cref="Parse"/> reads it.</summary>
    internal void Write(Utf8JsonWriter json)
    {
        json.WriteStartObject("weights");
        if (Strategy == "block")
        {
            json.WriteStartArray("block_structure");
            json.WriteNumberValue(RowTile);
            json.WriteNumberValue(ColumnTile);
            json.WriteEndArray();
        }

        json.WriteBoolean("dynamic", false);
        if (Strategy == "group")
            json.WriteNumber("group_size", ColumnTile);
        else
            json.WriteNull("group_size");
        WriteType(json, QType, Strategy, IsSymmetric);
        json.WriteEndObject();
    }

    /// <summary>Writes what weights and activations have in common.</summary>
    internal static void WriteType(Utf8JsonWriter json, QType qtype, string strategy, bool isSymmetric)
    {
        json.WriteNumber("num_bits", qtype.Bits);
        json.WriteString("strategy", strategy);
        json.WriteBoolean("symmetric", isSymmetric);
        json.WriteString("type", qtype.Kind == QTypeKind.Integer ? "int" : "float");
    }

    private static long Tiles(long length, long tile) => tile == 0 ? 1 : (length + tile - 1) / tile;

    private static (long, long) Block(JsonElement json)
    {
        var block = json.GetProperty("block_structure");
        return block.GetArrayLength() == 2 && block[0].GetInt64() is > 0 and var rows && block[1].GetInt64() is > 0 and var columns
            ? (rows, columns)
            : throw new FormatException("a block_structure has two positive lengths");
    }

    private static JsonElement? Optional(JsonElement json, string key) =>
        json.TryGetProperty(key, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
}
