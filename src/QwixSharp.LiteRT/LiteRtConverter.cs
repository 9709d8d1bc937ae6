using System.Reflection;
using System.Text;
using System.Text.Json;
using QwixSharp.LiteRT.Capture;
using QwixSharp.LiteRT.Graphs;
using QwixSharp.LiteRT.Lowering;
using QwixSharp.LiteRT.Passes;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT;

/// <summary>Turns TorchSharp models into LiteRT files.</summary>
public static class LiteRtConverter
{
    /// <summary>The name of the metadata that says what wrote a file, and how it is quantized, as JSON.</summary>
    public const string MetadataName = "qwixsharp";

    /// <summary>Converts a model whose inputs are tensors.</summary>
    /// <param name="model">The model. It is run once, in evaluation mode, on tensors without values, and is not changed.</param>
    /// <param name="exampleInputs">An example of each input; the file's inputs have their shapes and dtypes.</param>
    /// <returns>The file, in memory.</returns>
    /// <exception cref="LiteRtException">
    /// The model has an op that LiteRT lacks, control flow that depends on values, a shape that is not fixed, or more than
    /// 2 GB of weights. The message names the op and the module path.
    /// </exception>
    /// <exception cref="ArgumentException">The examples do not fit the model.</exception>
    public static LiteRtFile Convert(nn.Module model, params Tensor[] exampleInputs) => Convert(model, exampleInputs, new LiteRtOptions());

    /// <summary>Converts a model whose inputs are tensors.</summary>
    /// <param name="model">The model. It is run once, in evaluation mode, on tensors without values, and is not changed.</param>
    /// <param name="exampleInputs">An example of each input; the file's inputs have their shapes and dtypes.</param>
    /// <param name="options">Names, and the layout of images.</param>
    /// <returns>The file, in memory.</returns>
    /// <exception cref="LiteRtException">
    /// The model has an op that LiteRT lacks, control flow that depends on values, a shape that is not fixed, or more than
    /// 2 GB of weights. The message names the op and the module path.
    /// </exception>
    /// <exception cref="ArgumentException">The examples or names do not fit the model.</exception>
    public static LiteRtFile Convert(nn.Module model, IReadOnlyList<Tensor> exampleInputs, LiteRtOptions options)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(exampleInputs);
        ArgumentNullException.ThrowIfNull(options);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var captured = ModelCapture.Run(model, exampleInputs, options.InputNames, scope);
        var graph = GraphLowering.Lower(captured, options.ChannelsLast);
        GraphPasses.Run(graph, options);
        Name(graph, options.OutputNames);
        return new LiteRtFile(ModelWriter.Write(graph, options.Signature, "Written by QwixSharp", new Dictionary<string, byte[]> { [MetadataName] = Metadata(Scheme(graph)) }));
    }

    private static void Name(Graph graph, IReadOnlyList<string>? outputNames)
    {
        if (outputNames is not null)
        {
            if (outputNames.Count != graph.Outputs.Count || outputNames.Distinct().Count() != outputNames.Count)
                throw new ArgumentException($"There must be a name for each of the {graph.Outputs.Count} outputs, and no name twice; given are {string.Join(", ", outputNames)}.", nameof(outputNames));
            for (int i = 0; i < outputNames.Count; i++)
                graph.Outputs[i] = (outputNames[i], graph.Outputs[i].Tensor);
        }

        foreach (var (name, tensor) in graph.Outputs)
            tensor.Name = name;
    }

    /// <summary>How a file is quantized: the types of its weights and of its activations.</summary>
    private static string Scheme(Graph graph)
    {
        var weights = graph.Ops.SelectMany(o => o.Inputs).Where(t => t is { IsConstant: true, Quantization: not null } && t.Type is LiteRtType.Int4 or LiteRtType.Int8).Select(t => t!.Type).Distinct().Order().ToList();
        if (weights.Count == 0)
            return "float32";
        var activations = graph.Ops.SelectMany(o => o.Outputs).Where(t => t.Quantization is not null).Select(t => t.Type).Distinct().Order().ToList();
        var how = activations.Count > 0 ? string.Join(" and ", activations) + " activations" : graph.Ops.Any(o => o.IsHybrid) ? "dynamic ranges" : "weights only";
        return $"{string.Join(" and ", weights)} weights, {how}".ToLowerInvariant();
    }

    private static byte[] Metadata(string scheme)
    {
        var version = typeof(LiteRtConverter).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0];
        return Encoding.UTF8.GetBytes(JsonSerializer.Serialize(new { version, scheme }));
    }
}
