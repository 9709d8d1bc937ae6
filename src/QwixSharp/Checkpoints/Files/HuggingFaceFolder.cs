using System.Text.Json;

namespace QwixSharp.Checkpoints.Files;

/// <summary>What surrounds the tensors in a folder as Hugging Face writes it.</summary>
internal static class HuggingFaceFolder
{
    /// <summary>The largest JSON file that is read: far above all that exist, and far below all memory.</summary>
    private const long MaxJsonLength = 64 << 20;

    private const int MaxDepth = 64;

    /// <summary>The configuration beside a checkpoint, or in its folder.</summary>
    internal static JsonElement? ReadConfig(string path)
    {
        var folder = Directory.Exists(path) ? path : Path.GetDirectoryName(Path.GetFullPath(path))!;
        var file = Path.Combine(folder, "config.json");
        return File.Exists(file) ? ReadJson(file) : null;
    }

    /// <summary>Reads a JSON file.</summary>
    /// <exception cref="CheckpointException">It cannot be read, is too large, or is not valid JSON.</exception>
    internal static JsonElement ReadJson(string path)
    {
        using var file = new CheckpointFile(path);
        if (file.Length > MaxJsonLength)
            throw new CheckpointException($"{CheckpointException.Quote(path)} has {file.Length} bytes, more than the {MaxJsonLength} that are allowed.");
        var bytes = new byte[file.Length];
        file.Read(bytes, 0);
        try
        {
            CheckText(bytes);
            using var document = JsonDocument.Parse(bytes, new JsonDocumentOptions { MaxDepth = MaxDepth });
            return document.RootElement.Clone();
        }
        catch (JsonException error)
        {
            throw new CheckpointException($"{CheckpointException.Quote(path)} is not valid JSON: {CheckpointException.Describe(error)}.", error);
        }
        catch (InvalidOperationException error)
        {
            throw new CheckpointException($"{CheckpointException.Quote(path)} is not valid JSON: it has text that is not UTF-8.", error);
        }
    }

    /// <summary>A document is parsed without a look at its text, whose faults would come up wherever it is read.</summary>
    private static void CheckText(byte[] json)
    {
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = MaxDepth });
        while (reader.Read())
        {
            if (reader.TokenType is JsonTokenType.String or JsonTokenType.PropertyName)
                _ = reader.GetString();
        }
    }

    /// <summary>The path of a file that an index names.</summary>
    /// <exception cref="CheckpointException">The name leads out of the folder.</exception>
    internal static string Shard(string folder, string name)
    {
        if (name.Length == 0 || name is "." or ".." || name.AsSpan().IndexOfAny('/', '\\', '\0') >= 0 || Path.IsPathRooted(name))
            throw new CheckpointException($"The index in {CheckpointException.Quote(folder)} names the file {CheckpointException.Quote(name)}, which is not a plain name of a file in that folder.");
        var path = Path.Combine(folder, name);
        CheckInside(folder, path);
        return path;
    }

    /// <summary>
    /// Refuses links that lead out of a folder. The one exception is the cache of Hugging Face's own tools, where
    /// <c>snapshots/REVISION</c> holds links into <c>blobs</c> beside it.
    /// </summary>
    /// <exception cref="CheckpointException">The file is a link to somewhere else, or to nothing.</exception>
    internal static void CheckInside(string folder, string path)
    {
        FileSystemInfo? target;
        try
        {
            target = new FileInfo(path).ResolveLinkTarget(returnFinalTarget: true);
        }
        catch (IOException error)
        {
            throw new CheckpointException($"Cannot follow the link {CheckpointException.Quote(path)}: {FileErrors.Describe(error)}", error);
        }

        if (target is null)
            return;
        var real = Path.GetDirectoryName(Path.GetFullPath(target.FullName))!;
        var own = Path.GetFullPath(folder).TrimEnd(Path.DirectorySeparatorChar);
        var parent = Path.GetDirectoryName(own);
        bool inCache = Path.GetFileName(parent) == "snapshots" && real == Path.Combine(Path.GetDirectoryName(parent)!, "blobs");
        if (real != own && !inCache)
            throw new CheckpointException($"{CheckpointException.Quote(path)} is a link to {CheckpointException.Quote(target.FullName)}, outside of its folder. Put the file itself there, or give the path of what it links to.");
    }
}
