using System.Globalization;
using System.Text;

namespace QwixSharp.LiteRT;

/// <summary>
/// A LiteRT file (<c>.tflite</c>), whoever wrote it: opened, verified, and ready to be looked at. Nothing in the file is
/// trusted; a damaged one is refused with an exception.
/// </summary>
/// <remarks>The format is the public schema of google-ai-edge/LiteRT, version 3.</remarks>
public sealed class LiteRtModel
{
    internal LiteRtModel(string description, IReadOnlyList<LiteRtSubgraph> subgraphs, IReadOnlyList<LiteRtSignature> signatures, IReadOnlyDictionary<string, ReadOnlyMemory<byte>> metadata, long length)
    {
        Description = description;
        Subgraphs = subgraphs;
        Signatures = signatures;
        Metadata = metadata;
        Length = length;
    }

    /// <summary>What its writer says about the file.</summary>
    public string Description { get; }

    /// <summary>The graphs; the first is the main one.</summary>
    public IReadOnlyList<LiteRtSubgraph> Subgraphs { get; }

    /// <summary>The named ways to call the model.</summary>
    public IReadOnlyList<LiteRtSignature> Signatures { get; }

    /// <summary>Named data beside the model, as bytes.</summary>
    public IReadOnlyDictionary<string, ReadOnlyMemory<byte>> Metadata { get; }

    /// <summary>The size of the file in bytes.</summary>
    public long Length { get; }

    /// <summary>Opens and verifies a file.</summary>
    /// <param name="path">Its path.</param>
    /// <returns>The model.</returns>
    /// <exception cref="LiteRtException">The file is no LiteRT model, is damaged, or contradicts itself; the message says where.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static LiteRtModel Open(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (new FileInfo(path).Length > Array.MaxLength)
            throw new LiteRtException($"{path} is larger than 2 GB, which the format does not allow.");
        try
        {
            return Parse(File.ReadAllBytes(path));
        }
        catch (LiteRtException error)
        {
            throw new LiteRtException($"{path}: {error.Message}", error);
        }
    }

    /// <summary>Reads and verifies a model that is in memory.</summary>
    /// <param name="file">The bytes of a file. Constants of the model refer to them.</param>
    /// <returns>The model.</returns>
    /// <exception cref="LiteRtException">The bytes are no LiteRT model, are damaged, or contradict themselves; the message says where.</exception>
    public static LiteRtModel Parse(ReadOnlyMemory<byte> file)
    {
        var model = ModelReader.Read(file);
        ModelVerifier.Verify(model);
        return model;
    }

    /// <summary>Ops, tensors and quantization, a line each.</summary>
    /// <returns>A text of many lines.</returns>
    public override string ToString()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{Description}\n");
        foreach (var signature in Signatures)
            text.Append(CultureInfo.InvariantCulture, $"signature \"{signature.Key}\": {Named(signature, signature.Inputs)} -> {Named(signature, signature.Outputs)}\n");
        foreach (var graph in Subgraphs)
        {
            text.Append(CultureInfo.InvariantCulture, $"graph \"{graph.Name}\": inputs {string.Join(", ", graph.Inputs)}; outputs {string.Join(", ", graph.Outputs)}\n");
            for (int i = 0; i < graph.Tensors.Count; i++)
                text.Append(CultureInfo.InvariantCulture, $"  {i}: {graph.Tensors[i]}\n");
            foreach (var op in graph.Operators)
                text.Append(CultureInfo.InvariantCulture, $"  {string.Join(", ", op.Outputs)} = {op.Name}({string.Join(", ", op.Inputs)}){string.Concat(op.Options.Select(o => $" {o.Key}={o.Value}"))}\n");
        }

        return text.ToString();
    }

    private string Named(LiteRtSignature signature, IReadOnlyDictionary<string, int> tensors) =>
        string.Join(", ", tensors.Select(t => $"{t.Key}: {Subgraphs[signature.Subgraph].Tensors[t.Value]}"));
}
