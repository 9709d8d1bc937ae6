using LLama;
using LLama.Common;
using LLama.Native;
using LLama.Sampling;
using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.Gguf;
using QwixSharp.Tests;
using TorchSharp;
using Xunit;

namespace QwixSharp.Llama.Tests;

/// <summary>llama.cpp loads and runs what we write. A project of its own, for it brings a runtime of its own.</summary>
public class GgufInLlamaTests
{
    private const string FileTypeKey = "general.file_type";
    private const uint MostlyQ8 = 7;

    /// <summary>Few enough that the roundings of llama.cpp, other for each type, do not yet change one.</summary>
    private const int Tokens = 2;

    private const string Prompt = "The capital of France is";

    private static readonly string Model = Path.Combine(RepositoryFolder.Path, "../shared/models/SmolLM2-135M-Instruct.Q4_1.gguf");

    [Theory]
    [InlineData("Q8_0")]
    [InlineData("F16")]
    public async Task RunsAFileThatWeConverted(string type)
    {
        if (!File.Exists(Model))
            Assert.Skip($"There is no {Model}.");
        var folder = Directory.CreateTempSubdirectory("qwixsharp-");
        try
        {
            string path = Path.Combine(folder.FullName, "converted.gguf");
            Convert(path, type == "Q8_0" ? GgufTensorType.Q8_0 : GgufTensorType.F16);
            NativeLogConfig.llama_log_set((_, _) => { });
            string text = await Continue(path);
            Assert.Equal(await Continue(Model), text);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static void Convert(string path, GgufTensorType type)
    {
        using var scope = torch.NewDisposeScope();
        using var source = (GgufCheckpoint)Checkpoint.Open(Model);
        GgufTensorType TypeOf(string name) => source.TypeOf(name) == GgufTensorType.Q4_1 ? type : source.TypeOf(name);
        var metadata = source.Values.Select(p => p.Key == FileTypeKey ? new KeyValuePair<string, object>(p.Key, MostlyQ8) : p);
        using var writer = new GgufWriter(path, metadata, source.Tensors.Select(t => (t.Name, TypeOf(t.Name), t.Shape.ToArray())));
        foreach (var tensor in source.LogicalTensors)
        {
            using var inner = torch.NewDisposeScope();
            if (tensor.Quantization is not null && GgufWriter.TypeOf(tensor.ReadQuantized()) == TypeOf(tensor.Name))
                writer.Write(tensor.Name, tensor.ReadQuantized());
            else
                writer.Write(tensor.Name, tensor.ReadFloat());
        }

        writer.Complete();
    }

    private static async Task<string> Continue(string path)
    {
        var settings = new ModelParams(path) { ContextSize = 128, GpuLayerCount = 0, Threads = 2 };
        using var weights = await LLamaWeights.LoadFromFileAsync(settings, TestContext.Current.CancellationToken);
        var executor = new StatelessExecutor(weights, settings);
        using var pipeline = new GreedySamplingPipeline();
        var inference = new InferenceParams { MaxTokens = Tokens, SamplingPipeline = pipeline };
        var text = new System.Text.StringBuilder();
        await foreach (string piece in executor.InferAsync(Prompt, inference, TestContext.Current.CancellationToken))
            text.Append(piece);
        Assert.NotEmpty(text.ToString());
        return text.ToString();
    }
}
