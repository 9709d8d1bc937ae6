using System.Text.Json;
using System.Text.Json.Nodes;
using QwixSharp.Checkpoints;

namespace QwixSharp.Tool.Output;

/// <summary>Where a checkpoint will be written: one safetensors file, or a folder as Hugging Face writes it.</summary>
internal sealed class Destination
{
    private const string Extension = ".safetensors";

    /// <summary>Files of a folder that hold tensors, which are written anew.</summary>
    private static readonly string[] TensorFiles = [Extension, ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".gguf"];

    private readonly string _source;

    private Destination(string source, string path)
    {
        _source = source;
        Path = path;
    }

    /// <summary>The path, as the user gave it.</summary>
    internal string Path { get; }

    /// <summary>Whether it is one file.</summary>
    internal bool IsFile => Path.EndsWith(Extension, StringComparison.OrdinalIgnoreCase);

    /// <summary>Checks a destination before any work is done.</summary>
    /// <param name="source">The checkpoint that is read.</param>
    /// <param name="path">Where the result goes.</param>
    /// <param name="replace">Whether a result that is there may be replaced.</param>
    /// <exception cref="QwixException">It is the source, lies within it, or is there already.</exception>
    internal static Destination Check(string source, string path, bool replace)
    {
        string from = RealPath(source), to = RealPath(path);
        string fromFolder = Directory.Exists(from) ? from : System.IO.Path.GetDirectoryName(from)!;
        var destination = new Destination(source, path);
        if (from == to || (!destination.IsFile && to == fromFolder) || (Directory.Exists(from) && to.StartsWith(from + System.IO.Path.DirectorySeparatorChar, StringComparison.Ordinal)))
            throw new QwixException($"The output {path} is the input or lies within it; give another path, so that the input stays as it is.");
        if (destination.IsFile && Directory.Exists(to))
            throw new QwixException($"The output {path} is a folder, but its name says that it is a file.");
        bool exists = destination.IsFile ? File.Exists(to) : File.Exists(to) || (Directory.Exists(to) && Directory.EnumerateFileSystemEntries(to).Any());
        if (exists && !replace)
            throw new QwixException($"The output {path} is there already; give --force to replace it.");
        return destination;
    }

    /// <summary>Begins to write it.</summary>
    internal SafetensorsWriter Create(IReadOnlyList<TensorEntry> tensors, IReadOnlyDictionary<string, string>? metadata) => IsFile
        ? SafetensorsWriter.Create(Path, tensors, metadata)
        : SafetensorsWriter.CreateFolder(Path, tensors, metadata);

    /// <summary>
    /// Copies what lies beside the tensors of a folder: its configuration without what it says of quantization, tokenizers, licences.
    /// </summary>
    internal async Task CopyCompanionsAsync(CancellationToken cancel)
    {
        if (IsFile || !Directory.Exists(_source))
            return;
        foreach (string file in Directory.EnumerateFiles(_source).Where(f => !TensorFiles.Any(e => f.EndsWith(e, StringComparison.OrdinalIgnoreCase))))
        {
            string name = System.IO.Path.GetFileName(file), target = System.IO.Path.Combine(Path, name);
            if (name == "config.json" && JsonNode.Parse(await File.ReadAllTextAsync(file, cancel)) is JsonObject config && config.Remove("quantization_config"))
                await WholeFile.WriteAsync(target, config.ToJsonString(new JsonSerializerOptions { WriteIndented = true }), cancel);
            else
                await CopyAsync(file, target, cancel);
        }
    }

    /// <summary>Copies what a file holds, not its permissions: the copy of a read-only file can be replaced.</summary>
    private static async Task CopyAsync(string file, string target, CancellationToken cancel)
    {
        await using var from = File.OpenRead(file);
        await using var to = File.Create(target);
        await from.CopyToAsync(to, cancel);
    }

    /// <summary>A full path in which links to files and folders are followed.</summary>
    private static string RealPath(string path)
    {
        string full = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(path));
        FileSystemInfo info = Directory.Exists(full) ? new DirectoryInfo(full) : new FileInfo(full);
        return info.Exists ? info.ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? full : full;
    }
}
