using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using QwixSharp.Arrays;
using QwixSharp.Numerics;

namespace QwixSharp.Rules;

/// <summary>
/// Rules as JSON: an array of objects with the reference's names of settings, such as
/// <c>[{"module_path": ".*", "weight_qtype": "int4", "tile_size": 32}]</c>. Settings that are as usual are left out.
/// </summary>
public static class RuleJson
{
    private static readonly JsonWriterOptions Relaxed = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes rules. Of a rule for training, the settings of <see cref="QuantizationRule"/> are written.</summary>
    /// <param name="rules">The rules.</param>
    /// <returns>JSON in one line.</returns>
    public static string Write(IEnumerable<QuantizationRule> rules)
    {
        ArgumentNullException.ThrowIfNull(rules);
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, Relaxed))
        {
            json.WriteStartArray();
            foreach (var rule in rules)
                Write(json, rule);
            json.WriteEndArray();
        }

        return System.Text.Encoding.UTF8.GetString(buffer.ToArray());
    }

    /// <summary>Reads rules.</summary>
    /// <param name="json">An array of objects.</param>
    /// <returns>The rules in order.</returns>
    /// <exception cref="RuleException">It is not valid JSON, or a setting is unknown or has a value that it cannot have; the message names both.</exception>
    public static IReadOnlyList<QuantizationRule> Parse(string json)
    {
        ArgumentNullException.ThrowIfNull(json);
        try
        {
            using var document = JsonDocument.Parse(json);
            return Parse(document.RootElement);
        }
        catch (JsonException error)
        {
            throw new RuleException($"The rules are not valid JSON: it goes wrong in line {error.LineNumber + 1} at byte {error.BytePositionInLine}.", error);
        }
    }

    internal static IReadOnlyList<QuantizationRule> Parse(JsonElement json)
    {
        if (json.ValueKind != JsonValueKind.Array)
            throw new RuleException("Rules in JSON are an array of objects, such as [{\"module_path\": \".*\", \"weight_qtype\": \"int8\"}].");
        var rules = json.EnumerateArray().Select(ParseRule).ToList();
        rules.ForEach(rule => RuleValidation.Check(rule, null));
        return rules;
    }

    private static QuantizationRule ParseRule(JsonElement json, int index)
    {
        if (json.ValueKind != JsonValueKind.Object)
            throw new RuleException($"Rule {index} is not an object.");
        var rule = new QuantizationRule();
        foreach (var setting in json.EnumerateObject())
        {
            try
            {
                rule = With(rule, setting.Name, setting.Value);
            }
            catch (Exception error) when (error is ArgumentException or InvalidOperationException or FormatException)
            {
                throw new RuleException($"Rule {index} has a {setting.Name} that it cannot have: {error.Message}", error);
            }
        }

        return rule;
    }

    private static QuantizationRule With(QuantizationRule rule, string setting, JsonElement value) => setting switch
    {
        "module_path" => rule with { ModulePath = value.GetString() ?? rule.ModulePath },
        "op_names" => rule with { OpNames = [.. value.EnumerateArray().Select(e => e.GetString()!)] },
        "weight_qtype" => rule with { WeightQType = value.GetString() },
        "act_qtype" => rule with { ActQType = value.GetString() },
        "tile_size" => rule with { TileSize = ParseTiling(value) },
        "act_static_scale" => rule with { ActStaticScale = value.ValueKind == JsonValueKind.Null ? null : value.GetBoolean() },
        "weight_calibration_method" => rule with { WeightCalibrationMethod = value.GetString() ?? rule.WeightCalibrationMethod.ToString() },
        "weight_scale_dtype" => rule with { WeightScaleDtype = value.ValueKind == JsonValueKind.Null ? null : FloatDtype.Parse(value.GetString()) },
        "act_calibration_method" => rule with { ActCalibrationMethod = value.GetString() },
        "act_batch_axes" => rule with { ActBatchAxes = [.. value.EnumerateArray().Select(e => e.GetInt32())] },
        _ => throw new ArgumentException("There is no such setting. Known are: module_path, op_names, weight_qtype, act_qtype, tile_size, act_static_scale, weight_calibration_method, weight_scale_dtype, act_calibration_method, act_batch_axes."),
    };

    private static Tiling? ParseTiling(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null => null,
        JsonValueKind.Object => value.EnumerateObject().ToDictionary(p => int.Parse(p.Name, CultureInfo.InvariantCulture), p => ParseTileSize(p.Value)),
        _ => ParseTileSize(value),
    };

    /// <summary>A number with a point is a fraction: 1.0 is one tile, 1 is tiles of one value.</summary>
    private static TileSize ParseTileSize(JsonElement value) =>
        value.TryGetInt64(out long count) && !value.GetRawText().Contains('.') ? new TileSize(count) : new TileSize(value.GetDouble());

    private static void Write(Utf8JsonWriter json, QuantizationRule rule)
    {
        var usual = new QuantizationRule();
        json.WriteStartObject();
        json.WriteString("module_path", rule.ModulePath);
        if (rule.OpNames.Count > 0)
            WriteArray(json, "op_names", rule.OpNames, json.WriteStringValue);
        WriteType(json, "weight_qtype", rule.WeightQType);
        WriteType(json, "act_qtype", rule.ActQType);
        if (rule.TileSize is { } tiling)
            WriteTiling(json, tiling);
        if (rule.ActStaticScale is true)
            json.WriteBoolean("act_static_scale", true);
        if (rule.WeightCalibrationMethod != usual.WeightCalibrationMethod)
            json.WriteString("weight_calibration_method", rule.WeightCalibrationMethod.ToString());
        if (rule.WeightScaleDtype is { } dtype)
            json.WriteString("weight_scale_dtype", FloatDtype.NameOf(dtype));
        if (rule.ActQType is not null && rule.ActCalibrationMethod is { } calibration && calibration != CalibrationMethod.AbsMax())
            json.WriteString("act_calibration_method", calibration.ToString());
        if (!rule.ActBatchAxes.SequenceEqual(usual.ActBatchAxes))
            WriteArray(json, "act_batch_axes", rule.ActBatchAxes, json.WriteNumberValue);
        json.WriteEndObject();
    }

    private static void WriteType(Utf8JsonWriter json, string name, QType? qtype)
    {
        if (qtype is not null)
            json.WriteString(name, qtype.Name);
    }

    private static void WriteTiling(Utf8JsonWriter json, Tiling tiling)
    {
        json.WritePropertyName("tile_size");
        if (tiling.Axes is null)
        {
            json.WriteRawValue(tiling.ToString());
            return;
        }

        json.WriteStartObject();
        foreach (var (axis, size) in tiling.Axes)
        {
            json.WritePropertyName(axis.ToString(CultureInfo.InvariantCulture));
            json.WriteRawValue(size.ToString());
        }

        json.WriteEndObject();
    }

    private static void WriteArray<T>(Utf8JsonWriter json, string name, IEnumerable<T> values, Action<T> write)
    {
        json.WriteStartArray(name);
        foreach (var value in values)
            write(value);
        json.WriteEndArray();
    }
}
