using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using Microsoft.Build.Framework;
using Microsoft.Build.Utilities;

/// <summary>
/// Copies TorchSharp's native library and marks its need of libstdc++ versions newer than GCC 12's as weak, so that
/// the dynamic loader accepts an older libstdc++. The build compiles this file (see QwixSharp.targets).
/// </summary>
/// <remarks>
/// The library is changed only where nothing can depend on it: the one symbol behind these versions has no
/// relocation. It is the marker by which a newer libstdc++ runs its own initialization, which an older one does
/// without it. A library that holds anything else is left alone, with a warning.
/// The layout is that of the ELF gABI and of the "Symbol Versioning" chapter of the Linux Standard Base.
/// </remarks>
public sealed class WeakenVersionNeed : Task
{
    private const string MarkerSymbol = "_ZSt21ios_base_library_initv";
    private const byte WeakFlag = 2;
    private const uint DynamicSymbols = 11, VersionNeeds = 0x6ffffffe, SymbolVersions = 0x6fffffff;
    private static readonly string[] s_versions = { "GLIBCXX_3.4.31", "GLIBCXX_3.4.32" };

    /// <summary>The library as the package ships it.</summary>
    [Required]
    public string Source { get; set; }

    /// <summary>Where the changed copy goes. No file is left there if the library is not understood.</summary>
    [Required]
    public string Destination { get; set; }

    public override bool Execute()
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Destination));
        File.Delete(Destination);
        try
        {
            byte[] library = File.ReadAllBytes(Source);
            int weakened = Weaken(library);
            File.WriteAllBytes(Destination, library);
            Log.LogMessage(MessageImportance.Low, "{0}: {1} version needs made weak.", Destination, weakened);
        }
        // Out of range and overflow: an offset of the file points outside it.
        catch (Exception e) when (e is InvalidDataException || e is ArgumentException || e is IndexOutOfRangeException || e is OverflowException)
        {
            Log.LogWarning(
                "QwixSharp left {0} as it is: {1} On systems with a libstdc++ older than GCC 13's it may not load. " +
                "Set QwixSharpPatchTorch to false to silence this warning.", Source, e.Message);
        }
        return true;
    }

    private static int Weaken(byte[] file)
    {
        if (file.Length < 64 || file[0] != 0x7f || file[1] != 'E' || file[2] != 'L' || file[3] != 'F' || file[4] != 2 || file[5] != 1)
            throw new InvalidDataException("it is not a 64-bit little-endian ELF file.");

        Section needs = FindSection(file, VersionNeeds);
        if (needs == null) return 0;
        int names = FindSection(file, needs.Link).Offset;
        var found = new List<int>();
        for (int need = needs.Offset, i = 0; i < needs.Info; i++, need = checked(need + Int(file, need + 12)))
        {
            int version = checked(need + Int(file, need + 8));
            for (int left = BitConverter.ToUInt16(file, need + 2); left > 0; left--, version = checked(version + Int(file, version + 12)))
            {
                if (Array.IndexOf(s_versions, Name(file, checked(names + Int(file, version + 8)))) < 0) continue;
                RequireMarkerOnly(file, BitConverter.ToUInt16(file, version + 6));
                found.Add(version);
            }
        }
        foreach (int version in found) file[version + 4] |= WeakFlag;
        return found.Count;
    }

    /// <summary>Refuses a library in which a symbol that the program may really call has the version.</summary>
    private static void RequireMarkerOnly(byte[] file, int versionIndex)
    {
        Section symbols = FindSection(file, DynamicSymbols), versions = FindSection(file, SymbolVersions);
        if (symbols == null || versions == null) throw new InvalidDataException("its symbol table was not found.");
        int names = FindSection(file, symbols.Link).Offset;
        for (int i = 0; i < versions.Size / 2; i++)
        {
            if ((BitConverter.ToUInt16(file, versions.Offset + 2 * i) & 0x7fff) != versionIndex) continue;
            string symbol = Name(file, checked(names + Int(file, symbols.Offset + 24 * i)));
            if (symbol != MarkerSymbol) throw new InvalidDataException("it really uses " + symbol + " of a newer libstdc++.");
        }
    }

    private static Section FindSection(byte[] file, uint type)
    {
        for (int i = 0; i < BitConverter.ToUInt16(file, 0x3c); i++)
        {
            Section section = FindSection(file, i);
            if (section.Type == type) return section;
        }
        return null;
    }

    private static Section FindSection(byte[] file, int index)
    {
        int header = checked(Long(file, 0x28) + index * BitConverter.ToUInt16(file, 0x3a));
        return new Section
        {
            Type = BitConverter.ToUInt32(file, header + 4),
            Offset = Long(file, header + 24),
            Size = Long(file, header + 32),
            Link = Int(file, header + 40),
            Info = Int(file, header + 44),
        };
    }

    private static int Int(byte[] file, int offset) => checked((int)BitConverter.ToUInt32(file, offset));

    private static int Long(byte[] file, int offset) => checked((int)BitConverter.ToInt64(file, offset));

    private static string Name(byte[] file, int offset) =>
        Encoding.ASCII.GetString(file, offset, Array.IndexOf(file, (byte)0, offset) - offset);

    private sealed class Section
    {
        public uint Type;
        public int Offset, Size, Link, Info;
    }
}
