using System.Text;
using System.Text.RegularExpressions;

namespace QwixSharp.Tests.Packaging;

/// <summary>
/// The build task that weakens a version need, on libraries that it was not made for: it may refuse them, but never
/// breaks them.
/// </summary>
[Trait("Category", "Packaging")]
public sealed class TorchPatchTests : IDisposable
{
    private const string Original = "original.so";
    private readonly string _folder = Directory.CreateTempSubdirectory("qwixsharp-patch-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task ChangesOneFlagOrNothing()
    {
        Assert.SkipUnless(File.Exists(TorchSharpLibrary()), "TorchSharp's package for 64-bit Linux is not in the output.");
        // The build has patched the one in the output already; strong again, it is as the package ships it.
        var original = File.ReadAllBytes(TorchSharpLibrary());
        var flag = FlagOffset(original);
        Assert.Equal(2, original[flag]);
        var strong = With(original, flag, 0);
        var cases = new Dictionary<string, byte[]>
        {
            ["strong"] = strong,
            ["fine"] = original,
            ["empty"] = [],
            ["text"] = Encoding.ASCII.GetBytes(new string('x', 4096)),
            ["cut-in-header"] = original[..40],
            ["cut-in-half"] = original[..(original.Length / 2)],
            ["32-bit"] = With(original, 4, 1),
            ["sections-elsewhere"] = With(original, 0x2f, 0x7f),
            ["other-symbol"] = Replace(strong, "_ZSt21ios_base_library_initv", "_ZSt21ios_base_library_initX"),
        };

        var log = await Weaken(cases);

        Assert.Equal(original, File.ReadAllBytes(Output("strong")));
        Assert.Equal(original, File.ReadAllBytes(Output("fine")));
        foreach (var refused in cases.Keys.Except(["strong", "fine"]))
        {
            Assert.False(File.Exists(Output(refused)), refused);
            Assert.Contains($"warning : QwixSharp left {Path.Combine(_folder, refused, Original)} as it is", log, StringComparison.Ordinal);
        }
        Assert.Equal(cases.Count - 2, Regex.Count(log, "warning : QwixSharp left .*(\r?\n|$)"));
    }

    /// <summary>Runs the task on each file in one build.</summary>
    private async Task<string> Weaken(Dictionary<string, byte[]> cases)
    {
        var project = new StringBuilder($"<Project><Import Project=\"{RepositoryFolder.Path}/src/QwixSharp/build/QwixSharp.targets\" /><Target Name=\"Weaken\">");
        foreach (var (name, bytes) in cases)
        {
            var source = Path.Combine(Directory.CreateDirectory(Path.Combine(_folder, name)).FullName, Original);
            File.WriteAllBytes(source, bytes);
            project.Append($"<WeakenVersionNeed Source=\"{source}\" Destination=\"{Output(name)}\" />");
        }
        var file = Path.Combine(_folder, "weaken.proj");
        File.WriteAllText(file, project.Append("</Target></Project>").ToString());
        return await DotnetCommand.Run(_folder, "msbuild", file, "-t:Weaken", "-nologo", "-v:quiet");
    }

    private string Output(string name) => Path.Combine(_folder, name, "weak", "patched.so");

    private static string TorchSharpLibrary() =>
        Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native", "libLibTorchSharp.so");

    private static byte[] With(byte[] bytes, int offset, byte value)
    {
        var changed = (byte[])bytes.Clone();
        changed[offset] = value;
        return changed;
    }

    private static byte[] Replace(byte[] bytes, string old, string replacement)
    {
        var changed = (byte[])bytes.Clone();
        Encoding.ASCII.GetBytes(replacement).CopyTo(changed, bytes.AsSpan().IndexOf(Encoding.ASCII.GetBytes(old)));
        return changed;
    }

    /// <summary>The flags follow the version's hash, as the System V ABI computes it, in its entry of the version needs.</summary>
    private static int FlagOffset(byte[] library)
    {
        uint hash = 0;
        foreach (var letter in "GLIBCXX_3.4.32")
        {
            hash = (hash << 4) + letter;
            var high = hash & 0xf0000000;
            hash = (hash ^ (high >> 24)) & ~high;
        }
        return library.AsSpan().IndexOf(BitConverter.GetBytes(hash)) + 4;
    }
}
