using System.Text;
using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.Gguf;
using QwixSharp.Providers;
using QwixSharp.Samples.Chat;
using QwixSharp.Tests.Checkpoints;
using QwixSharp.Tests.Golden;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.LanguageModels;

public sealed class LlamaFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Llama _model = TinyLlama.Make();

    private string Target => Path.Combine(_folder.Path, "tiny.gguf");

    public static TheoryData<string, object?, string> Lies => new()
    {
        { "general.architecture", "gpt2", "architecture \"gpt2\" (general.architecture)" },
        { "general.architecture", null, "'general.architecture' is missing" },
        { "llama.embedding_length", null, "'llama.embedding_length' is missing" },
        { "llama.block_count", 3u, "'blk.2.attn_norm.weight' is missing" },
        { "llama.block_count", 0u, "'llama.block_count' is no positive whole number" },
        { "llama.block_count", "two", "'llama.block_count' is no positive whole number" },
        { "llama.feed_forward_length", 80u, "'blk.0.ffn_gate.weight' is [96, 64], but the sizes in the metadata make it [80, 64]" },
        { "llama.attention.head_count_kv", 4u, "'blk.0.attn_k.weight' is [32, 64]" },
        { "llama.rope.dimension_count", 8u, "llama.rope.dimension_count is 8" },
        { "llama.rope.scaling.type", "yarn", "llama.rope.scaling.type is yarn" },
        { "llama.expert_count", 8u, "llama.expert_count is 8" },
        { "llama.attention.layer_norm_rms_epsilon", null, "'llama.attention.layer_norm_rms_epsilon' is missing" },
        { "tokenizer.ggml.model", "llama", "tokenizer is \"llama\"" },
        { "tokenizer.ggml.pre", "qwen2", "\"qwen2\" does (tokenizer.ggml.pre)" },
        { "tokenizer.ggml.tokens", null, "'tokenizer.ggml.tokens' is missing" },
        { "tokenizer.ggml.token_type", "x", "'tokenizer.ggml.token_type' is a String" },
    };

    public void Dispose()
    {
        _model.Dispose();
        _scope.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void AFileGivesTheModelThatWasWritten()
    {
        TinyLlama.Write(Target, _model, TinyLlama.Metadata);

        using var file = LlamaFile.Load(Target);

        Assert.Equal(TinyLlama.Config, file.Model.Config);
        Assert.Equal([1], file.EndTokens);
        foreach (var (name, parameter) in _model.named_parameters())
            Assert.True(file.Model.get_parameter(name)!.equal(parameter).all().item<bool>(), name);
    }

    [Fact]
    public void AFolderGivesTheModelThatWasWritten()
    {
        var config = TinyLlama.Config;
        File.WriteAllText(Path.Combine(_folder.Path, "config.json"), $$"""
            {"model_type": "llama", "vocab_size": {{config.Vocabulary}}, "hidden_size": {{config.Width}}, "intermediate_size": {{config.Inner}},
             "num_hidden_layers": {{config.Layers}}, "num_attention_heads": {{config.Heads}}, "num_key_value_heads": {{config.KeyHeads}},
             "max_position_embeddings": {{config.Context}}, "rms_norm_eps": {{config.NormEpsilon.ToString("R")}}, "rope_theta": 10000.0, "eos_token_id": 1, "tie_word_embeddings": true}
            """);
        var tokens = (string[])TinyLlama.Metadata["tokenizer.ggml.tokens"];
        File.WriteAllText(Path.Combine(_folder.Path, "tokenizer.json"), System.Text.Json.JsonSerializer.Serialize(new
        {
            added_tokens = new[] { new { id = 0, content = tokens[0] }, new { id = 1, content = tokens[1] } },
            pre_tokenizer = new { type = "Sequence", pretokenizers = new object[] { new { type = "Digits", individual_digits = true }, new { type = "ByteLevel" } } },
            model = new { type = "BPE", vocab = tokens.Skip(2).Index().ToDictionary(t => t.Item, t => t.Index + 2), merges = new[] { new[] { "Ġ", "a" } } },
        }));
        using (var writer = SafetensorsWriter.Create(Path.Combine(_folder.Path, "model.safetensors"), _model.named_parameters().Select(p => new TensorEntry("model." + p.name, CheckpointDtype.Float32, p.parameter.shape))))
        {
            foreach (var (name, parameter) in _model.named_parameters())
                writer.Write("model." + name, parameter);
            writer.Complete();
        }

        using var file = LlamaFile.Load(_folder.Path);

        Assert.Equal(config, file.Model.Config);
        Assert.Equal([1], file.EndTokens);
        foreach (var (name, parameter) in _model.named_parameters())
            Assert.True(file.Model.get_parameter(name)!.equal(parameter).all().item<bool>(), name);
        TinyLlama.Write(Target, _model, TinyLlama.Metadata);
        using var gguf = LlamaFile.Load(Target);
        const string text = "<|im_start|>  an Übung of 2026 a's";
        Assert.Equal(gguf.Tokenizer.Encode(text), file.Tokenizer.Encode(text));
    }

    [Fact]
    public void AnOutputLayerOfItsOwnIsRead()
    {
        using var untied = TinyLlama.Make(TinyLlama.Config with { TiesEmbedding = false });
        TinyLlama.Write(Target, untied, TinyLlama.Metadata);

        using var file = LlamaFile.Load(Target);

        Assert.False(file.Model.Config.TiesEmbedding);
        var ids = tensor([3L, 4, 5]).unsqueeze(0);
        Assert.True(untied.call(ids, null, 0).equal(file.Model.call(ids, null, 0)).all().item<bool>());
    }

    [Theory]
    [MemberData(nameof(Lies))]
    public void MetadataThatCannotBeIsRefusedByName(string key, object? value, string expected)
    {
        var metadata = TinyLlama.Metadata;
        if (value is null)
            metadata.Remove(key);
        else
            metadata[key] = value;
        TinyLlama.Write(Target, _model, metadata);

        Assert.Contains(expected, Assert.Throws<InvalidDataException>(() => LlamaFile.Load(Target)).Message);
    }

    [Fact]
    public void ATensorThatIsMissingOrOfAnotherShapeIsRefusedByName()
    {
        TinyLlama.Write(Target, _model, TinyLlama.Metadata, (name, value) => name == "blk.1.ffn_up.weight" ? null : value);
        Assert.Contains("'blk.1.ffn_up.weight' is missing", Assert.Throws<InvalidDataException>(() => LlamaFile.Load(Target)).Message);

        TinyLlama.Write(Target, _model, TinyLlama.Metadata, (name, value) => name == "output_norm.weight" ? ones(63) : value);
        Assert.Contains("'output_norm.weight' is [63]", Assert.Throws<InvalidDataException>(() => LlamaFile.Load(Target)).Message);
    }

    [Theory]
    [InlineData("int8", null, "Q8_0")]
    [InlineData("int8", 32, "Q8_0")]
    [InlineData("int4", 32, "Q4_0")]
    public void AQuantizedModelIsExportedAsItIs(string qtype, int? tile, string type)
    {
        TinyLlama.Write(Target, _model, TinyLlama.Metadata);
        var exported = Path.Combine(_folder.Path, "exported.gguf");
        using var noGrad = no_grad();
        using var quantized = Qwix.QuantizeModel(_model, new PtqProvider([new() { ModulePath = ".*_proj|embed_tokens|", WeightQType = qtype, TileSize = tile }]), zeros([1, 1], ScalarType.Int64), null, 0);
        using (var source = (GgufCheckpoint)Checkpoint.Open(Target))
            GgufExport.Write(exported, source, _model, quantized.Weights);

        using var checkpoint = (GgufCheckpoint)Checkpoint.Open(exported);
        Assert.All(checkpoint.Tensors.Where(t => t.Shape.Count == 2), t => Assert.Equal(type, checkpoint.TypeOf(t.Name).Name));
        using var file = LlamaFile.Load(exported);
        var ids = tensor([3L, 44, 5, 100]).unsqueeze(0);
        // Scales are rounded to float16.
        Assert.True(GoldenValue.Snr(quantized.call(ids, null, 0), file.Model.call(ids, null, 0)) > 55);
    }

    [Fact]
    public void WhatGgufCannotHoldIsRefusedByName()
    {
        TinyLlama.Write(Target, _model, TinyLlama.Metadata);
        using var noGrad = no_grad();
        using var quantized = Qwix.QuantizeModel(_model, new PtqProvider([new() { ModulePath = ".*_proj", WeightQType = "nf4", TileSize = 32 }]), zeros([1, 1], ScalarType.Int64), null, 0);
        using var source = (GgufCheckpoint)Checkpoint.Open(Target);

        var error = Assert.Throws<ArgumentException>(() => GgufExport.Write(Path.Combine(_folder.Path, "no.gguf"), source, _model, quantized.Weights));

        Assert.Contains("layers.0.self_attn.q_proj.weight", error.Message);
        Assert.False(File.Exists(Path.Combine(_folder.Path, "no.gguf")));
    }

    [Fact]
    public void BytesOfTokensMakeTheTextAgain()
    {
        TinyLlama.Write(Target, _model, TinyLlama.Metadata);
        using var file = LlamaFile.Load(Target);
        const string text = "naïve café a — 日本 🙂";

        var ids = file.Tokenizer.Encode(text);

        Assert.Equal(text, Encoding.UTF8.GetString([.. ids.SelectMany(id => file.Tokenizer.Bytes(id).ToArray())]));
        var decode = new ChatFormat(file.Tokenizer).Decoder();
        Assert.Equal(text, string.Concat(ids.Select(decode)));
    }
}
