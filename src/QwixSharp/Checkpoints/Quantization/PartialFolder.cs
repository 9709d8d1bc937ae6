using System.Globalization;
using System.Text.Json;
using QwixSharp.Checkpoints.Files;
using QwixSharp.Checkpoints.Safetensors;

namespace QwixSharp.Checkpoints.Quantization;

/// <summary>
/// The folder <c>TARGET.partial</c>, in which whole shards gather until all are there; then it becomes the target. What an
/// interrupted run left in it is kept where the source and the plan are the same.
/// </summary>
internal sealed class PartialFolder
{
    private const string StampName = "source.txt";

    private readonly string _target;

    /// <exception cref="CheckpointException">The target is not free, or the folder cannot be made.</exception>
    internal PartialFolder(Checkpoint source, string target)
    {
        _target = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(target));
        Path = _target + ".partial";
        CheckFree(source, _target);
        var stamp = Stamp(source);
        var stampFile = System.IO.Path.Combine(Path, StampName);
        FileErrors.Guard($"Cannot write {CheckpointException.Quote(Path)}", () =>
        {
            if (Directory.Exists(Path) && (!File.Exists(stampFile) || File.ReadAllText(stampFile) != stamp))
                Directory.Delete(Path, recursive: true);
            Directory.CreateDirectory(Path);
            foreach (var leftOver in Directory.GetFiles(Path, ".*.tmp", new EnumerationOptions { AttributesToSkip = 0 }))
                File.Delete(leftOver);
            File.WriteAllText(stampFile, stamp);
        });
    }

    /// <summary>The folder.</summary>
    internal string Path { get; }

    /// <summary>Refuses a target where something is already, or which is the source.</summary>
    /// <exception cref="CheckpointException">The target is not free.</exception>
    internal static void CheckFree(Checkpoint source, string target)
    {
        var full = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(target));
        bool isSource = source.Files.Any(f => System.IO.Path.GetFullPath(f.Path) == full || System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(f.Path)) == full);
        if (isSource)
            throw new CheckpointException($"The output {CheckpointException.Quote(target)} is the input. Give another path.");
        if (File.Exists(full) || (Directory.Exists(full) && Directory.EnumerateFileSystemEntries(full).Any()))
            throw new CheckpointException($"The output {CheckpointException.Quote(target)} is there already. Give another path, or remove it.");
    }

    /// <summary>Whether a shard is there as it would be written now.</summary>
    internal bool Has(string name, IReadOnlyList<TensorEntry> tensors, IReadOnlyDictionary<string, string> metadata)
    {
        var path = System.IO.Path.Combine(Path, name);
        if (!File.Exists(path))
            return false;
        var wanted = SafetensorsHeaderWriter.Write(tensors, metadata, out _);
        using var file = new CheckpointFile(path);
        if (file.Length != wanted.Length + tensors.Sum(t => t.ByteLength))
            return false;
        var header = new byte[wanted.Length];
        file.Read(header, 0);
        return header.AsSpan().SequenceEqual(wanted);
    }

    /// <summary>Adds what stands beside the tensors of the source, and gives the folder the target's name.</summary>
    internal void Complete(Checkpoint source) => FileErrors.Guard($"Cannot write {CheckpointException.Quote(_target)}", () =>
    {
        SideFiles.Copy(source, Path);
        File.Delete(System.IO.Path.Combine(Path, StampName));
        if (Directory.Exists(_target))
            Directory.Delete(_target);
        Directory.Move(Path, _target);
    });

    /// <summary>What tells one source from another, and from itself after a change.</summary>
    private static string Stamp(Checkpoint source) => JsonSerializer.Serialize(source.Files.Select(f => new[]
    {
        System.IO.Path.GetFullPath(f.Path),
        f.Length.ToString(CultureInfo.InvariantCulture),
        File.GetLastWriteTimeUtc(f.Path).Ticks.ToString(CultureInfo.InvariantCulture),
    }));
}
