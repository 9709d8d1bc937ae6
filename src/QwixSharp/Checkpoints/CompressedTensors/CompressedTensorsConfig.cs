using System.Text.Json;
using System.Text.RegularExpressions;
using QwixSharp.Checkpoints.Layouts;
using QwixSharp.Numerics;

namespace QwixSharp.Checkpoints.CompressedTensors;

/// <summary>The <c>quantization_config</c> of compressed-tensors: schemes, and which modules each is for.</summary>
internal sealed class CompressedTensorsConfig
{
    private static readonly TimeSpan MatchTimeout = TimeSpan.FromSeconds(1);
    private static readonly string[] Formats = ["pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision", "dense"];

    private readonly string _path;
    private readonly List<Group> _groups = [];

    /// <exception cref="CheckpointException">It says what it cannot, or a format that is not read.</exception>
    internal CompressedTensorsConfig(Checkpoint checkpoint)
    {
        _path = checkpoint.Path;
        var config = new QuantizationConfig(checkpoint);
        if (config.Text("format") is { } format && !Formats.Contains(format))
            throw config.Unsupported("format", string.Join(", ", Formats));
        if (config.Json is not { } json || !json.TryGetProperty("config_groups", out var groups))
            throw config.Unsupported("config_groups", "one with a scheme for each group of modules");
        try
        {
            foreach (var group in groups.EnumerateObject())
            {
                if (group.Value.GetProperty("weights") is not { ValueKind: JsonValueKind.Object } weights)
                    continue;
                string[] targets = [.. group.Value.GetProperty("targets").EnumerateArray().Select(t => t.GetString() ?? throw new FormatException("a target is null"))];
                _groups.Add(new Group(targets, CompressedTensorsScheme.Parse(weights), ActivationsOf(group.Value)));
            }
        }
        catch (Exception error) when (error is InvalidOperationException or KeyNotFoundException or FormatException or ArgumentException)
        {
            throw new CheckpointException($"The quantization_config of {CheckpointException.Quote(_path)} has config_groups that cannot be read: {error.Message.ReplaceLineEndings(" ")}", error);
        }
    }

    /// <summary>How a module's weight is quantized, and what its input is at run time: the group that names it, else one for modules of a class.</summary>
    /// <exception cref="CheckpointException">No group can be for it.</exception>
    internal (CompressedTensorsScheme Weights, CompressedTensorsActivations? Activations) For(string module)
    {
        var group = _groups.Find(g => g.Targets.Any(t => Names(t, module))) ?? _groups.Find(g => g.Targets.Any(IsClass))
            ?? throw new CheckpointException($"The quantization_config of {CheckpointException.Quote(_path)} has no group for {CheckpointException.Quote(module)}, which is stored quantized.");
        return (group.Weights, group.Activations);
    }

    private static CompressedTensorsActivations? ActivationsOf(JsonElement group)
    {
        if (!group.TryGetProperty("input_activations", out var input) || input.ValueKind != JsonValueKind.Object)
            return null;
        var scheme = CompressedTensorsScheme.Parse(input);
        bool isDynamic = input.TryGetProperty("dynamic", out var dynamic) && dynamic.ValueKind != JsonValueKind.False;
        return new CompressedTensorsActivations(scheme.QType, IsStatic: !isDynamic);
    }

    /// <summary>A name without dots that is no pattern is that of a class, which a checkpoint does not tell: such a group is for all.</summary>
    private static bool IsClass(string target) => !target.StartsWith("re:", StringComparison.Ordinal) && !target.Contains('.');

    private bool Names(string target, string module)
    {
        if (!target.StartsWith("re:", StringComparison.Ordinal))
            return target == module;
        try
        {
            var match = Regex.Match(module, target[3..], RegexOptions.CultureInvariant, MatchTimeout);
            return match.Success && match.Index == 0;
        }
        catch (Exception error) when (error is ArgumentException or RegexMatchTimeoutException)
        {
            throw new CheckpointException($"The quantization_config of {CheckpointException.Quote(_path)} has the target {CheckpointException.Quote(target)}, which is no usable pattern.", error);
        }
    }

    private sealed record Group(string[] Targets, CompressedTensorsScheme Weights, CompressedTensorsActivations? Activations);
}

/// <summary>How the inputs of the modules of a compressed-tensors checkpoint are quantized when they are served.</summary>
/// <param name="QType">int8 or fp8.</param>
/// <param name="IsStatic">
/// Whether the scale is fixed, one a module, and stored with it as <c>input_scale</c>; else each token has its own, made as it comes.
/// </param>
public sealed record CompressedTensorsActivations(QType QType, bool IsStatic);
