using System.Text.Json;
using QwixSharp.Checkpoints.Files;

namespace QwixSharp.Checkpoints.CompressedTensors;

/// <summary>Writes a <c>config.json</c> with the <c>quantization_config</c> that compressed-tensors writes.</summary>
internal static class CompressedTensorsConfigWriter
{
    private const string ConfigName = "config.json";
    private const string QuantizationKey = "quantization_config";

    /// <summary>The version of the library whose configuration this is like.</summary>
    private const string Version = "0.20.0";

    internal static void Write(string folder, JsonElement? config, CompressedTensorsPlan plan, CompressedTensorsActivations? activations, IEnumerable<string> ignore)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            if (config is { ValueKind: JsonValueKind.Object } base_)
            {
                foreach (var property in base_.EnumerateObject().Where(p => p.Name != QuantizationKey))
                    property.WriteTo(json);
            }

            json.WriteStartObject(QuantizationKey);
            WriteQuantization(json, plan, activations, ignore);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        using var file = new NewFile(Path.Combine(folder, ConfigName), buffer.Length);
        file.Write(buffer.ToArray(), 0);
        file.Complete();
    }

    private static void WriteQuantization(Utf8JsonWriter json, CompressedTensorsPlan plan, CompressedTensorsActivations? activations, IEnumerable<string> ignore)
    {
        string[] formats = [.. plan.Schemes.Select(s => CompressedTensorsPlan.FormatOf(s, activations))];
        bool isMixed = formats.Distinct().Count() > 1;
        json.WriteStartObject("config_groups");
        for (int i = 0; i < formats.Length; i++)
        {
            var scheme = plan.Schemes[i];
            json.WriteStartObject($"group_{i}");
            json.WriteString("format", isMixed ? formats[i] : null);
            WriteActivations(json, activations);
            json.WriteNull("output_activations");
            json.WriteStartArray("targets");
            // The name of a class stands for all of its modules; where there are several schemes, modules are named.
            foreach (string target in formats.Length == 1 ? Enumerable.Repeat("Linear", 1) : plan.ModulesOf(scheme).Order(StringComparer.Ordinal))
                json.WriteStringValue(target);
            json.WriteEndArray();
            scheme.Write(json);
            json.WriteEndObject();
        }

        json.WriteEndObject();
        json.WriteString("format", isMixed ? "mixed-precision" : formats.FirstOrDefault("dense"));
        json.WriteNull("global_compression_ratio");
        json.WriteStartArray("ignore");
        foreach (string module in ignore)
            json.WriteStringValue(module);
        json.WriteEndArray();
        json.WriteNull("kv_cache_scheme");
        json.WriteNull("moe_sparsity_config");
        json.WriteString("quant_method", "compressed-tensors");
        json.WriteString("quantization_status", "compressed");
        json.WriteStartObject("sparsity_config");
        json.WriteEndObject();
        json.WriteStartObject("transform_config");
        json.WriteEndObject();
        json.WriteString("version", Version);
    }

    private static void WriteActivations(Utf8JsonWriter json, CompressedTensorsActivations? activations)
    {
        if (activations is null)
        {
            json.WriteNull("input_activations");
            return;
        }

        json.WriteStartObject("input_activations");
        json.WriteBoolean("dynamic", !activations.IsStatic);
        json.WriteNull("group_size");
        CompressedTensorsScheme.WriteType(json, activations.QType, activations.IsStatic ? "tensor" : "token", isSymmetric: true);
        json.WriteEndObject();
    }
}
