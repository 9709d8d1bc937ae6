using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.Gguf;
using static TorchSharp.torch;

namespace QwixSharp.Samples.Chat;

/// <summary>A Llama model with its tokenizer, read from a GGUF file or a Hugging Face folder.</summary>
public sealed class LlamaFile : IDisposable
{
    private LlamaFile(Llama model, BytePairTokenizer tokenizer, IReadOnlySet<int> endTokens) =>
        (Model, Tokenizer, EndTokens) = (model, tokenizer, endTokens);

    /// <summary>The model in float32, ready for inference.</summary>
    public Llama Model { get; }

    /// <summary>The tokenizer.</summary>
    public BytePairTokenizer Tokenizer { get; }

    /// <summary>The tokens that end an answer.</summary>
    public IReadOnlySet<int> EndTokens { get; }

    /// <summary>Reads a model.</summary>
    /// <param name="path">A GGUF file, or a folder with <c>config.json</c>, <c>tokenizer.json</c> and safetensors.</param>
    /// <exception cref="QwixException">The file is damaged.</exception>
    /// <exception cref="InvalidDataException">The model is of another architecture, or something is missing or does not fit; the message names the key or tensor.</exception>
    public static LlamaFile Load(string path)
    {
        using var checkpoint = Checkpoint.Open(path);
        var metadata = checkpoint is GgufCheckpoint gguf ? (ILlamaMetadata)new GgufMetadata(gguf) : new FolderMetadata(checkpoint);
        var tensors = checkpoint.LogicalTensors.ToDictionary(t => t.Name);
        var config = metadata.Config(tensors.ContainsKey);
        var tokenizer = metadata.Tokenizer();
        HashSet<int> ends = [.. new[] { metadata.EndToken, tokenizer.SpecialId("<|im_end|>") }.OfType<int>()];
        var model = new Llama(config);
        try
        {
            using var noGrad = no_grad();
            foreach (var (name, parameter) in model.named_parameters())
            {
                // The caller may have a dispose scope, which the model is to outlive.
                parameter.DetachFromDisposeScope();
                Read(parameter, metadata, tensors, metadata.StoredName(name));
            }

            model.eval();
            return new LlamaFile(model, tokenizer, ends);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();

    private static void Read(Tensor parameter, ILlamaMetadata metadata, Dictionary<string, LogicalTensor> tensors, string name)
    {
        if (!tensors.TryGetValue(name, out var stored))
            throw new InvalidDataException($"The tensor '{name}' is missing.");
        if (!stored.Shape.SequenceEqual(parameter.shape))
            throw new InvalidDataException($"The tensor '{name}' is [{string.Join(", ", stored.Shape)}], but the sizes in the metadata make it [{string.Join(", ", parameter.shape)}].");
        using var scope = NewDisposeScope();
        parameter.copy_(metadata.Arrange(name, stored.ReadFloat(ScalarType.Float32)));
    }
}

/// <summary>What a file says of a model beside its weights.</summary>
internal interface ILlamaMetadata
{
    /// <summary>The token that ends a text; null where the file names none.</summary>
    int? EndToken { get; }

    /// <summary>The sizes.</summary>
    /// <param name="hasTensor">Whether the file has a tensor of a name.</param>
    LlamaConfig Config(Func<string, bool> hasTensor);

    /// <summary>The tokenizer.</summary>
    BytePairTokenizer Tokenizer();

    /// <summary>The file's name for a parameter of <see cref="Llama"/>.</summary>
    string StoredName(string parameter);

    /// <summary>A tensor with its rows in the order that <see cref="Llama"/> has them.</summary>
    Tensor Arrange(string storedName, Tensor stored);
}
