using System.IO.Compression;
using System.Xml.Linq;

namespace QwixSharp.Tests.Packaging;

/// <summary>What a user gets who adds the package to a project of their own.</summary>
[Trait("Category", "Packaging")]
public class PackageTests(PackageFeed feed) : IClassFixture<PackageFeed>
{
    /// <summary>Hard links in place of 1 GB of copied natives, where the file system allows it; the program cannot tell.</summary>
    private static readonly string[] LinkNatives =
        ["-p:CreateHardLinksForCopyLocalIfPossible=true", "-p:CreateHardLinksForPublishFilesIfPossible=true"];

    [Fact]
    public void HoldsLibraryDocumentationReadmeAndTargets()
    {
        using var package = ZipFile.OpenRead(feed.PackageFile);
        var files = package.Entries.Select(entry => entry.FullName).ToHashSet();

        Assert.Superset(
            new HashSet<string>
            {
                "lib/net10.0/QwixSharp.dll", "lib/net10.0/QwixSharp.xml", "README.md", "THIRD-PARTY-NOTICES.md",
                "build/QwixSharp.targets", "build/WeakenVersionNeed.cs",
                "buildTransitive/QwixSharp.targets", "buildTransitive/WeakenVersionNeed.cs",
            },
            files);
        Assert.DoesNotContain(files, file => file.EndsWith(".so", StringComparison.Ordinal));
    }

    [Fact]
    public void RequiresWhatTheProjectReferencesAndNothingElse()
    {
        using var package = ZipFile.OpenRead(feed.PackageFile);
        using var manifest = package.GetEntry("QwixSharp.nuspec")!.Open();
        var project = XDocument.Load(Path.Combine(RepositoryFolder.Path, "src", "QwixSharp", "QwixSharp.csproj"));

        var required = XDocument.Load(manifest).Descendants().Where(element => element.Name.LocalName == "dependency").Select(element => element.Attribute("id")!.Value);

        Assert.Equal(project.Descendants("PackageReference").Select(item => item.Attribute("Include")!.Value).Order(), required.Order());
    }

    [Fact]
    public async Task NewProjectRuns()
    {
        var folder = NewProject("Portable");

        var output = await DotnetCommand.Run(folder, ["run", .. LinkNatives]);

        Assert.Contains("works: True", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task NewProjectRunsPublishedForOneSystem()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && Environment.Is64BitProcess, "The native library in question is that of 64-bit Linux.");
        var folder = NewProject("Published");

        await DotnetCommand.Run(folder, ["publish", "-r", "linux-x64", "--no-self-contained", "-o", "published", .. LinkNatives]);
        var output = await DotnetCommand.Run(folder, Path.Combine("published", "Published.dll"));

        Assert.Contains("works: True", output, StringComparison.Ordinal);
    }

    /// <summary>A console project beside the feed that references the package and libtorch, and nothing else.</summary>
    private string NewProject(string name)
    {
        var folder = Directory.CreateDirectory(Path.Combine(feed.Folder, name)).FullName;
        var torchSharp = XDocument.Load(Path.Combine(RepositoryFolder.Path, "Directory.Packages.props"))
            .Descendants("PackageVersion").Single(item => item.Attribute("Include")!.Value == "TorchSharp-cpu").Attribute("Version")!.Value;
        File.WriteAllText(Path.Combine(folder, $"{name}.csproj"), $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
                <Nullable>enable</Nullable>
                <TreatWarningsAsErrors>true</TreatWarningsAsErrors>
              </PropertyGroup>
              <ItemGroup>
                <PackageReference Include="QwixSharp" Version="{feed.Version}" />
                <PackageReference Include="TorchSharp-cpu" Version="{torchSharp}" />
              </ItemGroup>
            </Project>
            """);
        File.Copy(
            Path.Combine(RepositoryFolder.Path, "tests", "QwixSharp.Tests", "Packaging", "NewProject", "Program.cs.txt"),
            Path.Combine(folder, "Program.cs"));
        return folder;
    }
}
