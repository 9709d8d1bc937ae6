using QwixSharp.Checkpoints.Gguf;
using QwixSharp.Checkpoints.Pickle;
using QwixSharp.Checkpoints.Safetensors;

namespace QwixSharp.Checkpoints.Files;

/// <summary>A file format for checkpoints.</summary>
internal interface ICheckpointFormat
{
    /// <summary>
    /// The names of files for which a folder is searched, the best first, such as <c>model.safetensors</c>; <c>*</c> stands
    /// for any text.
    /// </summary>
    IReadOnlyList<string> FileNames { get; }

    /// <summary>Whether a file is of this format.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="start">Its first bytes, at most 16.</param>
    bool Recognizes(string path, ReadOnlySpan<byte> start);

    /// <summary>Opens a file of this format.</summary>
    /// <param name="file">The file.</param>
    /// <param name="path">The path that the user gave: that of the file, or of its folder.</param>
    /// <exception cref="CheckpointException">The file contradicts itself.</exception>
    Checkpoint Open(string file, string path);
}

/// <summary>All formats, and which one a path is of.</summary>
internal static class CheckpointFormats
{
    private const int StartLength = 16;

    private static readonly ICheckpointFormat[] All = [new ShardedFormat(), new SafetensorsFormat(), new GgufFormat(), new PyTorchFormat()];

    internal static Checkpoint Open(string path)
    {
        var file = Directory.Exists(path) ? FindIn(path) : path;
        var start = ReadStart(file);
        foreach (var format in All)
        {
            if (format.Recognizes(file, start))
                return format.Open(file, path);
        }

        throw new CheckpointException($"{CheckpointException.Quote(file)} is no checkpoint: neither safetensors nor any other format that is known.");
    }

    private static string FindIn(string folder)
    {
        foreach (var pattern in All.SelectMany(f => f.FileNames))
        {
            string[] files = [.. Directory.EnumerateFiles(folder, pattern).Order(StringComparer.Ordinal)];
            if (files.Length > 1)
                throw new CheckpointException($"Folder {CheckpointException.Quote(folder)} has {files.Length} files {pattern}, and no index that says how they belong together. Give the path of one of them.");
            if (files.Length == 1)
            {
                HuggingFaceFolder.CheckInside(folder, files[0]);
                return files[0];
            }
        }

        throw new CheckpointException($"Folder {CheckpointException.Quote(folder)} has no checkpoint: none of {string.Join(", ", All.SelectMany(f => f.FileNames))}.");
    }

    private static byte[] ReadStart(string path)
    {
        using var file = new CheckpointFile(path);
        var start = new byte[Math.Min(StartLength, file.Length)];
        file.Read(start, 0);
        return start;
    }
}
