using System.Text.Json;

namespace QwixSharp.Checkpoints.Layouts;

/// <summary>The <c>quantization_config</c> of a <c>config.json</c>, as transformers writes it.</summary>
internal readonly struct QuantizationConfig
{
    private readonly string _path;
    private readonly JsonElement? _config;

    internal QuantizationConfig(Checkpoint checkpoint)
    {
        _path = checkpoint.Path;
        if (checkpoint.Config is { ValueKind: JsonValueKind.Object } config && config.TryGetProperty("quantization_config", out var quantization) && quantization.ValueKind == JsonValueKind.Object)
            _config = quantization;
    }

    /// <summary>Who quantized: <c>gptq</c>, <c>awq</c>, <c>compressed-tensors</c>, <c>bitsandbytes</c>; null where there is no such configuration.</summary>
    internal string? Method => Text("quant_method");

    /// <summary>The whole of it.</summary>
    internal JsonElement? Json => _config;

    internal string? Text(string key) => Find(key, JsonValueKind.String)?.GetString();

    internal bool? Flag(string key) => Find(key, JsonValueKind.True, JsonValueKind.False)?.GetBoolean();

    internal int? Number(string key) => Find(key, JsonValueKind.Number) is not { } value ? null
        : value.TryGetInt32(out int number) ? number
        : throw Wrong(key, value);

    /// <summary>A setting that is not what it would have to be.</summary>
    internal CheckpointException Unsupported(string key, string supported) =>
        new($"The quantization_config of {CheckpointException.Quote(_path)} has {key} {(_config!.Value.TryGetProperty(key, out var value) ? CheckpointException.Quote(value.ToString()) : "missing")}, but only {supported} is read.");

    private JsonElement? Find(string key, params ReadOnlySpan<JsonValueKind> kinds)
    {
        if (_config is not { } config || !config.TryGetProperty(key, out var value) || value.ValueKind == JsonValueKind.Null)
            return null;
        return kinds.Contains(value.ValueKind) ? value : throw Wrong(key, value);
    }

    private CheckpointException Wrong(string key, JsonElement value) =>
        new($"The quantization_config of {CheckpointException.Quote(_path)} gives {key} as {CheckpointException.Quote(value.ToString())}, which it cannot be.");
}
