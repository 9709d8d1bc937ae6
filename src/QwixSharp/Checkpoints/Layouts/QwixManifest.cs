using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Layouts;

/// <summary>What the layout says of one quantized tensor beside its stored tensors.</summary>
/// <param name="QType">The type of the codes.</param>
/// <param name="Shape">The shape in values.</param>
/// <param name="Tiles">The tile size of each axis that is cut into tiles; for readers, since the scales' shape says it too.</param>
/// <param name="Calibration">How the range was found; null where it is not known.</param>
/// <param name="Dtype">The array's dtype where scales are stored in a smaller one; null where it is the stored scales'.</param>
internal sealed record QwixTensorInfo(QType QType, IReadOnlyList<long> Shape, IReadOnlyDictionary<int, long> Tiles, CalibrationMethod? Calibration, ScalarType? Dtype = null)
{
    /// <summary>Describes a tensor whose tiles the shape of its scales tells.</summary>
    internal static QwixTensorInfo Of(IReadOnlyList<long> shape, TensorQuantization quantization, CalibrationMethod? calibration, ScalarType? dtype = null)
    {
        var scales = quantization.ScaleShape;
        var tiles = Enumerable.Range(0, shape.Count).Where(a => scales[a] != 1 && scales[a] != shape[a]).ToDictionary(a => a, a => shape[a] / scales[a]);
        return new(quantization.QType, shape, tiles, calibration, dtype);
    }
}

/// <summary>The layout's entry in the metadata: its version, the rules, and each quantized tensor.</summary>
internal sealed record QwixManifest(IReadOnlyList<QuantizationRule>? Rules, IReadOnlyDictionary<string, QwixTensorInfo> Tensors)
{
    /// <summary>The key in the metadata.</summary>
    internal const string Key = "qwix";

    /// <summary>The version that is written, and the newest that is read.</summary>
    internal const int Version = 1;

    private static readonly JsonWriterOptions Relaxed = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The manifest as JSON in one line.</summary>
    internal string ToJson()
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, Relaxed))
        {
            json.WriteStartObject();
            json.WriteNumber("format", Version);
            if (Rules is not null)
            {
                json.WritePropertyName("rules");
                json.WriteRawValue(RuleJson.Write(Rules));
            }

            json.WriteStartObject("tensors");
            foreach (var (name, info) in Tensors.OrderBy(t => t.Key, StringComparer.Ordinal))
                Write(json, name, info);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray());
    }

    /// <summary>Reads the manifest of a checkpoint.</summary>
    /// <exception cref="CheckpointException">It is not as this version writes it.</exception>
    internal static QwixManifest Parse(string json, string path)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            int version = document.RootElement.GetProperty("format").GetInt32();
            if (version is < 1 or > Version)
                throw Fault(path, $"its format is {version}, but this version of QwixSharp reads 1 to {Version}. Use a newer one");
            var rules = document.RootElement.TryGetProperty("rules", out var found) ? RuleJson.Parse(found) : null;
            return new QwixManifest(rules, document.RootElement.GetProperty("tensors").EnumerateObject().ToDictionary(t => t.Name, t => ParseTensor(t.Value), StringComparer.Ordinal));
        }
        catch (JsonException error)
        {
            throw Fault(path, CheckpointException.Describe(error), error);
        }
        catch (Exception error) when (error is InvalidOperationException or KeyNotFoundException or FormatException or ArgumentException or OverflowException or RuleException)
        {
            throw Fault(path, error.Message.ReplaceLineEndings(" "), error);
        }
    }

    private static QwixTensorInfo ParseTensor(JsonElement json) => new(
        QType.Parse(json.GetProperty("qtype").GetString()!),
        [.. json.GetProperty("shape").EnumerateArray().Select(a => a.GetInt64())],
        json.TryGetProperty("tile", out var tile)
            ? tile.EnumerateObject().ToDictionary(t => int.Parse(t.Name, CultureInfo.InvariantCulture), t => t.Value.GetInt64())
            : new Dictionary<int, long>(),
        json.TryGetProperty("calibration", out var calibration) ? CalibrationMethod.Parse(calibration.GetString()!) : null,
        json.TryGetProperty("dtype", out var dtype) ? FloatDtype.Parse(dtype.GetString()) : null);

    private static void Write(Utf8JsonWriter json, string name, QwixTensorInfo info)
    {
        json.WriteStartObject(name);
        json.WriteString("qtype", info.QType.Name);
        json.WriteStartArray("shape");
        foreach (long axis in info.Shape)
            json.WriteNumberValue(axis);
        json.WriteEndArray();
        if (info.Tiles.Count > 0)
        {
            json.WriteStartObject("tile");
            foreach (var (axis, size) in info.Tiles)
                json.WriteNumber(axis.ToString(CultureInfo.InvariantCulture), size);
            json.WriteEndObject();
        }

        if (info.Calibration is { } calibration)
            json.WriteString("calibration", calibration.ToString());
        if (info.Dtype is { } dtype)
            json.WriteString("dtype", FloatDtype.NameOf(dtype));
        json.WriteEndObject();
    }

    private static CheckpointException Fault(string path, string what, Exception? error = null)
    {
        var message = $"The metadata \"{Key}\" of {CheckpointException.Quote(path)} cannot be read: {what}.";
        return error is null ? new CheckpointException(message) : new CheckpointException(message, error);
    }
}
