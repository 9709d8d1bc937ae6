namespace QwixSharp.LiteRT;

/// <summary>How a model is written as a file.</summary>
public sealed record LiteRtOptions
{
    /// <summary>The name of the signature.</summary>
    public string Signature { get; init; } = "serving_default";

    /// <summary>Names of the inputs, in their order; the parameter names of the model's <c>forward</c> if null.</summary>
    public IReadOnlyList<string>? InputNames { get; init; }

    /// <summary>
    /// Names of the outputs, in their order. If null: <c>output</c>, or <c>output0</c>, <c>output1</c> and so on where there are several, or the
    /// keys of a dictionary that the model returns.
    /// </summary>
    public IReadOnlyList<string>? OutputNames { get; init; }

    /// <summary>
    /// Whether inputs and outputs of four axes are images of batch, height, width and channels in the file, as LiteRT keeps
    /// them, rather than PyTorch's batch, channels, height and width. It saves a transpose at each.
    /// </summary>
    public bool ChannelsLast { get; init; }

    /// <summary>Whether inputs that the model quantizes are given as integers; else as floating point, which the file quantizes itself.</summary>
    public bool IntegerInputs { get; init; } = true;

    /// <summary>Whether outputs that the model quantizes are integers; else the file converts them to floating point.</summary>
    public bool IntegerOutputs { get; init; } = true;
}
