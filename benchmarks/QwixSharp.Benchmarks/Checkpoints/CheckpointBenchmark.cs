using System.Diagnostics;
using QwixSharp.Checkpoints;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Checkpoints;

/// <summary>
/// Quantizes a bfloat16 checkpoint of four shards, and beside it copies the same files: reading and writing through the same
/// page cache to the same disk, flushed at the end of each file. Rounds alternate, and medians count.
/// </summary>
internal static class CheckpointBenchmark
{
    private const int Shards = 4;
    private const int Width = 4096;
    private const int Rounds = 3;
    private const long MatrixBytes = 2L * Width * Width;

    private static readonly (string Name, QuantizationRule Rule)[] Schemes =
    [
        ("int8", new() { WeightQType = "int8" }),
        ("int4, tile 32", new() { WeightQType = "int4", TileSize = 32 }),
    ];

    /// <summary>Runs it.</summary>
    /// <param name="gigabytes">The size of the checkpoint.</param>
    /// <param name="folder">Where it is made and removed again; it needs two and a half times the room.</param>
    public static void Run(double gigabytes, string? folder)
    {
        var root = Directory.CreateDirectory(Path.Combine(folder ?? Path.GetTempPath(), $"qwixsharp-checkpoint-{Environment.ProcessId}")).FullName;
        try
        {
            int matrices = Math.Max(Shards, (int)(gigabytes * 1e9 / MatrixBytes) / Shards * Shards);
            long bytes = matrices * MatrixBytes, free = new DriveInfo(root).AvailableFreeSpace;
            if (free < bytes * 5 / 2)
                throw new InvalidOperationException($"{root} has {free / 1e9:f1} GB of room; {bytes * 2.5 / 1e9:f1} are needed. Give another folder or a smaller --size.");
            var source = Path.Combine(root, "source");
            Make(source, matrices);
            Console.WriteLine($"{bytes / 1e9:f2} GB of bfloat16 in {matrices} matrices {Width} × {Width}, {Shards} shards");
            Open(source);
            ForgetPeakMemory();
            long before = PeakMemory();
            Measure(root, source, bytes);
            Console.WriteLine($"peak resident memory {PeakMemory() / 1e6:f0} MB, of which {before / 1e6:f0} before the first run; bound 3 × {MatrixBytes / 1e6:f0} + 200 = {((3 * MatrixBytes) + 200_000_000) / 1e6:f0} MB");
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    private static void Make(string folder, int matrices)
    {
        var entries = Enumerable.Range(0, matrices).Select(i => new TensorEntry($"layers.{i:000}.proj.weight", CheckpointDtype.BFloat16, [Width, Width])).ToList();
        using var writer = SafetensorsWriter.CreateFolder(folder, entries, maxShardSize: MatrixBytes * (matrices / Shards));
        // The same numbers in all: what a matrix holds does not change what it costs.
        using var values = randn(Width, Width, dtype: ScalarType.BFloat16);
        foreach (var entry in entries)
            writer.Write(entry.Name, values);
        writer.Complete();
    }

    private static void Open(string source)
    {
        var processor = Process.GetCurrentProcess().TotalProcessorTime;
        double[] times = [.. Enumerable.Range(0, 5).Select(_ => Time(() =>
        {
            using var checkpoint = Checkpoint.Open(source);
            if (checkpoint.Tensors.Sum(t => t.ByteLength) == 0)
                throw new InvalidOperationException("The checkpoint is empty.");
        }) * 1000)];
        // The first has its code compiled; on a busy machine, that waits for a processor.
        Console.WriteLine($"open and list: first {times[0]:f1} ms, then {times[1..].Min():f1} ms; all {times.Length} took {(Process.GetCurrentProcess().TotalProcessorTime - processor).TotalMilliseconds:f0} ms of processor time");
    }

    private static void Measure(string root, string source, long bytes)
    {
        var copies = new List<double>();
        var runs = Schemes.Select(_ => new List<double>()).ToList();
        for (int round = 0; round < Rounds; round++)
        {
            copies.Add(InFreshFolder(root, target => Copy(source, target)));
            for (int i = 0; i < Schemes.Length; i++)
                runs[i].Add(InFreshFolder(root, target => Quantize(source, target, Schemes[i].Rule)));
        }

        double copy = Median(copies);
        Console.WriteLine($"{"copy",-16}{copy,7:f2} s  {bytes / copy / 1e9,5:f2} GB/s");
        foreach (var ((name, _), times) in Schemes.Zip(runs))
            Console.WriteLine($"{name,-16}{Median(times),7:f2} s  {bytes / Median(times) / 1e9,5:f2} GB/s  {copy / Median(times),4:p0} of copying");
    }

    private static void Quantize(string source, string target, QuantizationRule rule)
    {
        using var checkpoint = Checkpoint.Open(source);
        new CheckpointQuantizer([rule]) { MaxShardSize = checkpoint.Tensors.Sum(t => t.ByteLength) / 2 / Shards }.Run(checkpoint, target);
    }

    private static void Copy(string source, string target)
    {
        Directory.CreateDirectory(target);
        var buffer = new byte[4 << 20];
        foreach (var file in Directory.GetFiles(source))
        {
            using var from = File.OpenHandle(file);
            using var to = File.OpenHandle(Path.Combine(target, Path.GetFileName(file)), FileMode.CreateNew, FileAccess.Write, preallocationSize: RandomAccess.GetLength(from));
            for (long offset = 0; RandomAccess.Read(from, buffer, offset) is var read and > 0; offset += read)
                RandomAccess.Write(to, buffer.AsSpan(0, read), offset);
            RandomAccess.FlushToDisk(to);
        }
    }

    private static double InFreshFolder(string root, Action<string> action)
    {
        var target = Path.Combine(root, "target");
        double seconds = Time(() => action(target));
        Directory.Delete(target, recursive: true);
        return seconds;
    }

    private static double Time(Action action)
    {
        long start = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    /// <summary>Makes what is resident now the most that the process has had, where the system lets it: the files are made before.</summary>
    private static void ForgetPeakMemory()
    {
        GC.Collect();
        if (File.Exists("/proc/self/clear_refs"))
            File.WriteAllText("/proc/self/clear_refs", "5");
    }

    /// <summary>The most memory that the process has had resident.</summary>
    private static long PeakMemory()
    {
        const string key = "VmHWM:";
        var line = File.Exists("/proc/self/status") ? File.ReadLines("/proc/self/status").FirstOrDefault(l => l.StartsWith(key, StringComparison.Ordinal)) : null;
        return line is null ? Process.GetCurrentProcess().PeakWorkingSet64 : long.Parse(line[key.Length..].Replace("kB", "").Trim(), System.Globalization.CultureInfo.InvariantCulture) * 1024;
    }
}
