using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Serialization;
using QwixSharp.Tests;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Runtime;

/// <summary>What a run gives for one output.</summary>
public sealed record RunOutput(string Name, string Dtype, long[] Shape, byte[] Data)
{
    public Tensor ToTensor()
    {
        var type = Dtype switch
        {
            "float32" => ScalarType.Float32,
            "int32" => ScalarType.Int32,
            "int64" => ScalarType.Int64,
            "int16" => ScalarType.Int16,
            "int8" => ScalarType.Int8,
            "uint8" => ScalarType.Byte,
            "bool" => ScalarType.Bool,
            _ => throw new NotSupportedException(Dtype),
        };
        var tensor = empty(Shape, dtype: type);
        Data.CopyTo(tensor.bytes);
        return tensor;
    }
}

/// <summary>What an engine answers: the outputs for each batch, or why there are none.</summary>
public sealed record EngineAnswer([property: JsonPropertyName("batches")] RunOutput[][]? Outputs, string? Error)
{
    /// <summary>The outputs for each batch.</summary>
    [JsonIgnore]
    public RunOutput[][] Batches => Outputs ?? throw new InvalidOperationException(Error);
}

/// <summary>
/// LiteRT runtimes that this project did not write, in a Node process that all tests share. Their packages are installed
/// from the lock file on first use.
/// </summary>
public sealed class LiteRtRuntime : IDisposable
{
    /// <summary>The words by which the build recognizes that these tests were not run.</summary>
    public const string Missing = "No LiteRT runtime";

    private const string Newer = "litert", Older = "tfjs";

    private static readonly string Folder = Path.Combine(RepositoryFolder.Path, "tests/QwixSharp.LiteRT.Tests/runner");
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull };

    private readonly Lock _lock = new();
    private readonly Lazy<string?> _whyNot = new(WhyNot);
    private Process? _node;

    /// <summary>Runs a model in LiteRT.</summary>
    /// <param name="model">The path of the file.</param>
    /// <param name="inputs">Contents of the inputs by name.</param>
    /// <param name="signature">Which signature.</param>
    public RunOutput[] Run(string model, IReadOnlyDictionary<string, byte[]> inputs, string signature) =>
        Ask(model, [inputs], signature, Newer)[0].Batches[0];

    /// <summary>Runs a model in LiteRT on inputs in the order of its signature.</summary>
    public RunOutput[] Run(string model, params Tensor[] inputs) => Run(model, [inputs])[0];

    /// <summary>Runs a model in LiteRT on several batches, which is loaded once.</summary>
    public RunOutput[][] Run(string model, IReadOnlyList<Tensor[]> batches) => Ask(model, Bytes(batches), null, Newer)[0].Batches;

    /// <summary>Runs a model on several batches in LiteRT and in the older runtime, which is a second opinion.</summary>
    public (RunOutput[][] Newer, EngineAnswer Older) RunInBoth(string model, IReadOnlyList<Tensor[]> batches)
    {
        var answers = Ask(model, Bytes(batches), null, Newer, Older);
        return (answers[0].Batches, answers[1]);
    }

    public void Dispose()
    {
        if (_node is null)
            return;
        _node.StandardInput.Close();
        if (!_node.WaitForExit(5000))
            _node.Kill();
        _node.Dispose();
    }

    internal static byte[] BytesOf(Tensor tensor)
    {
        using var contiguous = tensor.detach().contiguous();
        return contiguous.bytes.ToArray();
    }

    private static object[] Bytes(IReadOnlyList<Tensor[]> batches) => [.. batches.Select(inputs => Array.ConvertAll(inputs, BytesOf))];

    private EngineAnswer[] Ask(string model, object[] batches, string? signature, params string[] engines)
    {
        if (_whyNot.Value is { } reason)
            Assert.Skip($"{Missing}: {reason}");
        lock (_lock)
        {
            _node ??= Process.Start(new ProcessStartInfo("node", "serve.mjs") { WorkingDirectory = Folder, RedirectStandardInput = true, RedirectStandardOutput = true })!;
            _node.StandardInput.WriteLine(JsonSerializer.Serialize(new { engines, model = Path.GetFullPath(model), signature, batches }, Json));
            _node.StandardInput.Flush();
            var line = _node.StandardOutput.ReadLine() ?? throw new InvalidOperationException($"Node ended while it ran {model}.");
            return JsonSerializer.Deserialize<EngineAnswer[]>(line, Json)!;
        }
    }

    /// <summary>Why nothing can be run; null where all is there.</summary>
    private static string? WhyNot()
    {
        try
        {
            if (TryRun("node", "--version") is { } node)
                return $"Node cannot be started ({node}).";
            bool installed = File.Exists(Path.Combine(Folder, "node_modules/.package-lock.json"))
                && File.GetLastWriteTimeUtc(Path.Combine(Folder, "node_modules/.package-lock.json")) >= File.GetLastWriteTimeUtc(Path.Combine(Folder, "package-lock.json"));
            return installed ? null : Npm();
        }
        catch (System.ComponentModel.Win32Exception error)
        {
            return $"Node cannot be started ({error.Message}).";
        }
    }

    /// <summary>Installs the packages, without the peer that only the JavaScript around the older runtime wants.</summary>
    private static string? Npm()
    {
        const string arguments = "ci --omit=peer --ignore-scripts --no-audit --no-fund";
        bool windows = RuntimeInformation.IsOSPlatform(OSPlatform.Windows);
        return TryRun(windows ? "cmd" : "npm", windows ? "/c npm " + arguments : arguments) is { } error ? $"npm {arguments} failed: {error}" : null;
    }

    private static string? TryRun(string program, string arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { WorkingDirectory = Folder, RedirectStandardOutput = true, RedirectStandardError = true })!;
        var output = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? null : $"exit code {process.ExitCode}, {errors} {output.Result}".Trim();
    }
}

/// <summary>Tests that run files share one Node process.</summary>
[CollectionDefinition(Name)]
public sealed class RuntimeCollection : ICollectionFixture<LiteRtRuntime>
{
    public const string Name = "LiteRT in Node";
}
