namespace QwixSharp.LiteRT;

/// <summary>A LiteRT file in memory. It holds no tensors: the model that it comes from may be disposed.</summary>
public sealed class LiteRtFile
{
    private readonly ArraySegment<byte> _bytes;

    internal LiteRtFile(ArraySegment<byte> bytes) => _bytes = bytes;

    /// <summary>The bytes of the file.</summary>
    public ReadOnlyMemory<byte> Bytes => _bytes;

    /// <summary>The file as a reader sees it: its ops, tensors and quantization.</summary>
    /// <returns>The model.</returns>
    public LiteRtModel Inspect() => LiteRtModel.Parse(_bytes);

    /// <summary>Writes the file. Where that fails, nothing is left behind, and a file that was there before is unchanged.</summary>
    /// <param name="path">Its path, by custom with the extension <c>.tflite</c>.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public void Export(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        var temporary = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            using (var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write))
                stream.Write(_bytes);
            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }
}
