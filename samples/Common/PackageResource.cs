using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;

namespace QwixSharp.Samples.Common;

/// <summary>Reads a resource embedded in an assembly file without loading the assembly, so that none of its dependencies is needed.</summary>
public static class PackageResource
{
    /// <summary>Opens a manifest resource for reading. Its bytes are mapped, not copied into memory.</summary>
    /// <param name="assemblyPath">The assembly's file.</param>
    /// <param name="resourceName">The full name of the resource, such as <c>Some.Namespace.vocab.txt</c>.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The assembly embeds no resource of that name; the message lists those that it has.</exception>
    public static Stream Open(string assemblyPath, string resourceName)
    {
        var (offset, length) = Locate(assemblyPath, resourceName);
        using var file = MemoryMappedFile.CreateFromFile(assemblyPath, FileMode.Open, mapName: null, capacity: 0, MemoryMappedFileAccess.Read);
        return file.CreateViewStream(offset, length, MemoryMappedFileAccess.Read);
    }

    private static (long Offset, long Length) Locate(string assemblyPath, string resourceName)
    {
        using var file = File.OpenRead(assemblyPath);
        using var assembly = new PEReader(file);
        var metadata = assembly.GetMetadataReader();
        var embedded = metadata.ManifestResources.Select(metadata.GetManifestResource).Where(r => r.Implementation.IsNil).ToList();
        var found = embedded.FindIndex(r => metadata.StringComparer.Equals(r.Name, resourceName));
        if (found < 0)
            throw new InvalidDataException($"'{assemblyPath}' embeds no resource '{resourceName}'. It has: {string.Join(", ", embedded.Select(r => metadata.GetString(r.Name)))}.");

        var start = FileOffset(assembly.PEHeaders, assembly.PEHeaders.CorHeader!.ResourcesDirectory.RelativeVirtualAddress) + embedded[found].Offset;
        Span<byte> length = stackalloc byte[sizeof(int)];
        file.Position = start;
        file.ReadExactly(length);
        return (start + length.Length, BinaryPrimitives.ReadInt32LittleEndian(length));
    }

    private static long FileOffset(PEHeaders headers, int address)
    {
        var section = headers.SectionHeaders[headers.GetContainingSectionIndex(address)];
        return section.PointerToRawData + (address - section.VirtualAddress);
    }
}
