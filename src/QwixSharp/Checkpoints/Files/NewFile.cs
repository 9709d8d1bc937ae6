using Microsoft.Win32.SafeHandles;

namespace QwixSharp.Checkpoints.Files;

/// <summary>
/// A file that appears under its name when it is complete and on the disk, and not before: until then it has another name
/// in the same folder. Disposing it without <see cref="Complete"/> deletes it. Writing is safe for several threads.
/// </summary>
internal sealed class NewFile : IDisposable
{
    private readonly string _temporary;
    private readonly SafeFileHandle _handle;
    private bool _moved;

    /// <summary>Makes the file under its temporary name.</summary>
    /// <param name="path">The name it will have.</param>
    /// <param name="length">Its length in bytes, for which room is made at once; 0 where it is not known.</param>
    /// <exception cref="CheckpointException">The folder cannot be written to, or lacks the room.</exception>
    internal NewFile(string path, long length)
    {
        Path = System.IO.Path.GetFullPath(path);
        _temporary = System.IO.Path.Combine(System.IO.Path.GetDirectoryName(Path)!, $".{System.IO.Path.GetFileName(Path)}.{Guid.NewGuid():n}.tmp");
        if (Directory.Exists(Path))
            throw new CheckpointException($"Cannot write {CheckpointException.Quote(path)}: it is a folder. Give the name of a file.");
        // Taking the name from a file would not ask for the right to write to it.
        if (File.Exists(Path) && new FileInfo(Path).IsReadOnly)
            throw new CheckpointException($"Cannot write {CheckpointException.Quote(path)}: it is there and read-only. Give another name, or change its permissions.");
        try
        {
            _handle = File.OpenHandle(_temporary, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, FileOptions.None, length);
        }
        catch (Exception error) when (FileErrors.IsFileError(error))
        {
            Delete();
            throw Failed(error);
        }
    }

    /// <summary>The name that the file will have.</summary>
    internal string Path { get; }

    /// <summary>Writes bytes at an offset.</summary>
    /// <exception cref="CheckpointException">They cannot be written, for instance because the disk is full.</exception>
    internal void Write(ReadOnlySpan<byte> bytes, long offset)
    {
        try
        {
            RandomAccess.Write(_handle, bytes, offset);
        }
        catch (Exception error) when (FileErrors.IsFileError(error))
        {
            throw Failed(error);
        }
    }

    /// <summary>Brings what was written to the disk.</summary>
    /// <exception cref="CheckpointException">It cannot be done.</exception>
    internal void Flush()
    {
        try
        {
            RandomAccess.FlushToDisk(_handle);
        }
        catch (Exception error) when (FileErrors.IsFileError(error))
        {
            throw Failed(error);
        }
    }

    /// <summary>Brings the file to the disk and gives it its name, in place of a file that had it before.</summary>
    /// <exception cref="CheckpointException">It cannot be done; what had the name before is unchanged.</exception>
    internal void Complete()
    {
        Flush();
        _handle.Dispose();
        try
        {
            File.Move(_temporary, Path, overwrite: true);
        }
        catch (Exception error) when (FileErrors.IsFileError(error))
        {
            throw Failed(error);
        }

        _moved = true;
    }

    public void Dispose()
    {
        _handle.Dispose();
        if (!_moved)
            Delete();
    }

    private void Delete()
    {
        try
        {
            File.Delete(_temporary);
        }
        catch (Exception error) when (FileErrors.IsFileError(error))
        {
            // Whatever kept the file from being written also keeps it from being deleted, and is reported already.
        }
    }

    private CheckpointException Failed(Exception error) =>
        new($"Cannot write {CheckpointException.Quote(Path)}: {(error is DirectoryNotFoundException ? "its folder does not exist." : FileErrors.Describe(error))}", error);
}
