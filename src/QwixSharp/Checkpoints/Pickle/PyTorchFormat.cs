using QwixSharp.Checkpoints.Files;
using static QwixSharp.Checkpoints.CheckpointException;

namespace QwixSharp.Checkpoints.Pickle;

/// <summary>The file format of torch.save since PyTorch 1.6: a zip file of a pickle and the storages of its tensors.</summary>
internal sealed class PyTorchFormat : ICheckpointFormat
{
    private const string PickleName = "data.pkl";

    /// <summary>Far above the pickle of any model, which holds names and shapes alone.</summary>
    private const long MaxPickleLength = 256 << 20;

    public IReadOnlyList<string> FileNames => ["pytorch_model.bin", "*.pt", "*.pth", "*.bin"];

    public bool Recognizes(string path, ReadOnlySpan<byte> start) =>
        start.StartsWith("PK\u0003\u0004"u8) || Path.GetExtension(path).ToLowerInvariant() is ".pt" or ".pth" or ".bin";

    public Checkpoint Open(string file, string path)
    {
        var opened = new CheckpointFile(file);
        try
        {
            return Open(path, opened);
        }
        catch
        {
            opened.Dispose();
            throw;
        }
    }

    private static PyTorchCheckpoint Open(string path, CheckpointFile file)
    {
        if (file.Length < 4 || !file.Span(0, 4).SequenceEqual("PK\u0003\u0004"u8))
            throw new CheckpointException($"{Quote(file.Path)} is not a file of torch.save since PyTorch 1.6, which is a zip file. Load and save it again with a newer PyTorch.");
        var entries = ZipDirectory.Read(file);
        string name = entries.Keys.FirstOrDefault(n => n.EndsWith("/" + PickleName, StringComparison.Ordinal) && n.IndexOf('/') == n.Length - PickleName.Length - 1)
            ?? throw new CheckpointException($"{Quote(file.Path)} is a zip file without {PickleName}, and so none of torch.save.");
        string folder = name[..^PickleName.Length];
        if (entries.ContainsKey(folder + "constants.pkl"))
            throw new CheckpointException($"{Quote(file.Path)} is a TorchScript program. Save the state dict instead: torch.save(model.state_dict(), path).");
        if (entries.TryGetValue(folder + "byteorder", out var order) && IsBig(file, order))
            throw new CheckpointException($"{Quote(file.Path)} was written on a big-endian machine, which is not read. Save it again on another.");
        var pickle = entries[name];
        if (pickle.Length > MaxPickleLength)
            throw new CheckpointException($"{Quote(file.Path)} has a pickle of {pickle.Length} bytes, more than the {MaxPickleLength} that are allowed.");
        try
        {
            var bytes = new byte[pickle.Length];
            pickle.Read(file, bytes, 0);
            var root = new PickleReader(bytes).Read();
            var tensors = StateDict.Flatten(root, maxVisits: pickle.Length);
            return new PyTorchCheckpoint(path, file, [.. tensors.Select(t => PyTorchTensor.Locate(file, entries, folder, t.Key, t.Value))]);
        }
        catch (FormatException error)
        {
            throw new CheckpointException($"The pickle in {Quote(file.Path)} cannot be read: {error.Message}.", error);
        }
    }

    private static bool IsBig(CheckpointFile file, ZipEntry order)
    {
        if (order.Length != 3)
            return false;
        Span<byte> text = stackalloc byte[3];
        order.Read(file, text, 0);
        return text.SequenceEqual("big"u8);
    }
}
