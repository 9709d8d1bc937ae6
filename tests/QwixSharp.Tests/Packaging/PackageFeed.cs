using System.Text.Json;

namespace QwixSharp.Tests.Packaging;

/// <summary>
/// The package of this checkout in a feed of its own, in a temporary folder outside the repository. Its version is
/// new every time, so that NuGet's cache can never answer with an older build.
/// </summary>
public sealed class PackageFeed : IAsyncLifetime
{
    /// <summary>The temporary folder; new projects go into it.</summary>
    public string Folder { get; } = Directory.CreateTempSubdirectory("qwixsharp-package-").FullName;

    /// <summary>The version of the package.</summary>
    public string Version { get; } = $"0.0.0-test.{Guid.NewGuid():N}";

    /// <summary>The package file.</summary>
    public string PackageFile => Path.Combine(Folder, "feed", $"QwixSharp.{Version}.nupkg");

    /// <inheritdoc />
    public async ValueTask InitializeAsync()
    {
        // Nothing above the temporary folder may be inherited either.
        File.WriteAllText(Path.Combine(Folder, "Directory.Build.props"), "<Project />");
        File.WriteAllText(Path.Combine(Folder, "Directory.Build.targets"), "<Project />");
        File.WriteAllText(Path.Combine(Folder, "Directory.Packages.props"), "<Project />");
        // Without <clear />, the sources that the machine is set up with stay.
        File.WriteAllText(Path.Combine(Folder, "nuget.config"), """
            <configuration>
              <packageSources>
                <add key="feed" value="feed" />
              </packageSources>
            </configuration>
            """);
        // With an artifacts path of its own, packing does not disturb the build that these tests run from, in which analyzers have seen
        // the same code.
        await DotnetCommand.Run(
            RepositoryFolder.Path, "pack", Path.Combine("src", "QwixSharp"), "-c", "Release", "-v", "quiet",
            "--artifacts-path", Path.Combine(Folder, "artifacts"), "-o", Path.Combine(Folder, "feed"), $"-p:PackageVersion={Version}", "-p:RunAnalyzers=false");
    }

    /// <inheritdoc />
    public ValueTask DisposeAsync()
    {
        foreach (var assets in Directory.EnumerateFiles(Folder, "project.assets.json", SearchOption.AllDirectories))
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(assets));
            foreach (var cache in json.RootElement.GetProperty("packageFolders").EnumerateObject())
            {
                var versions = Path.Combine(cache.Name, "qwixsharp");
                var cached = Path.Combine(versions, Version);
                if (!Directory.Exists(cached)) continue;
                Directory.Delete(cached, recursive: true);
                if (!Directory.EnumerateFileSystemEntries(versions).Any()) Directory.Delete(versions);
            }
        }
        Directory.Delete(Folder, recursive: true);
        return ValueTask.CompletedTask;
    }
}
