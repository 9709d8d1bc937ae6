using System.IO.MemoryMappedFiles;
using Microsoft.Win32.SafeHandles;

namespace QwixSharp.Checkpoints.Files;

/// <summary>
/// A file of a checkpoint, open for reading. Values are read at their offsets, which fails cleanly where another process
/// has cut the file short; spans come from a memory map that is made when the first is asked for. Safe for several threads.
/// </summary>
internal sealed unsafe class CheckpointFile : IDisposable
{
    private readonly SafeFileHandle _handle;
    private readonly Lock _gate = new();
    private MemoryMappedFile? _map;
    private MemoryMappedViewAccessor? _view;
    private byte* _start;

    /// <summary>Opens a file.</summary>
    /// <exception cref="CheckpointException">There is no such file, or it cannot be read.</exception>
    internal CheckpointFile(string path)
    {
        Path = path;
        try
        {
            _handle = File.OpenHandle(path, share: FileShare.Read | FileShare.Delete);
            Length = RandomAccess.GetLength(_handle);
        }
        catch (Exception error) when (FileErrors.IsFileError(error))
        {
            _handle?.Dispose();
            throw new CheckpointException($"Cannot read {CheckpointException.Quote(path)}: {FileErrors.Describe(error)}", error);
        }
    }

    /// <summary>The path it was opened by.</summary>
    internal string Path { get; }

    /// <summary>Its length in bytes when it was opened.</summary>
    internal long Length { get; }

    /// <summary>Reads exactly as many bytes as the destination holds.</summary>
    /// <exception cref="CheckpointException">The file ends before, or cannot be read.</exception>
    internal void Read(Span<byte> destination, long offset)
    {
        try
        {
            while (destination.Length > 0)
            {
                int read = RandomAccess.Read(_handle, destination, offset);
                if (read == 0)
                    throw new CheckpointException($"{CheckpointException.Quote(Path)} ends at byte {offset}, before what was to be read. It has been cut short since it was opened: get it again.");
                destination = destination[read..];
                offset += read;
            }
        }
        catch (Exception error) when (FileErrors.IsFileError(error))
        {
            throw new CheckpointException($"Cannot read {CheckpointException.Quote(Path)}: {FileErrors.Describe(error)}", error);
        }
    }

    /// <summary>Bytes of the memory map; valid until this is disposed.</summary>
    /// <exception cref="CheckpointException">The file has become shorter.</exception>
    internal ReadOnlySpan<byte> Span(long offset, int length)
    {
        if (length == 0)
            return [];
        // Touching a page of the map that lies beyond the end would end the process.
        if (offset < 0 || offset + length > RandomAccess.GetLength(_handle))
            throw new CheckpointException($"{CheckpointException.Quote(Path)} ends before byte {offset + length}. It has been cut short since it was opened: get it again.");
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_handle.IsClosed, this);
            if (_start is null)
                Map();
        }

        return new ReadOnlySpan<byte>(_start + offset, length);
    }

    public void Dispose()
    {
        lock (_gate)
        {
            if (_start is not null)
                _view!.SafeMemoryMappedViewHandle.ReleasePointer();
            _start = null;
            _view?.Dispose();
            _map?.Dispose();
            _handle.Dispose();
        }
    }

    private void Map()
    {
        _map = MemoryMappedFile.CreateFromFile(_handle, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
        _view = _map.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        byte* pointer = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref pointer);
        _start = pointer + _view.PointerOffset;
    }
}
