using System.Diagnostics;
using System.Globalization;
using QwixSharp.LiteRT;
using QwixSharp.Samples.Common;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Models;

/// <summary>
/// Seconds from a model to a <c>.tflite</c> file, the memory that it takes on top of the model's, and the size of the file. The first
/// export of a process also compiles the library, and copies the model's code.
/// </summary>
internal static class ExportBenchmark
{
    private static readonly Dictionary<string, Func<(nn.Module Model, Tensor[] Inputs)>> Models = new()
    {
        ["ResNet-18"] = () => (TorchSharp.torchvision.models.resnet18(), [zeros(1, 3, 224, 224)]),
        ["MiniLM"] = () => (new BertEncoder(new BertSize()), [zeros(1, 128, ScalarType.Int64), ones(1, 128, ScalarType.Int64)]),
    };

    /// <summary>Measures one model, or all of them, each in processes of its own.</summary>
    /// <param name="name">The model; all if null.</param>
    /// <param name="onlyFirst">Whether to measure the first export of the process alone.</param>
    internal static void Run(string? name, bool onlyFirst)
    {
        if (name is not null && onlyFirst)
        {
            MeasureFirst(name);
            return;
        }

        if (name is not null)
        {
            Measure(name);
            return;
        }

        Console.WriteLine($"{"model",-12}{"first s",10}{"weights MB",12}{"second s",10}{"later s",10}{"peak / weights",16}{"file / weights",16}");
        foreach (var model in Models.Keys)
        {
            foreach (string[] arguments in new string[][] { ["export", model, "first"], ["export", model] })
            {
                using var child = Process.Start(Environment.ProcessPath!, arguments);
                child.WaitForExit();
            }
        }
    }

    private static void MeasureFirst(string name)
    {
        var (model, inputs) = Models[name]();
        model.eval();
        var path = PathOfFile();
        try
        {
            var watch = Stopwatch.StartNew();
            LiteRtConverter.Convert(model, inputs).Export(path);
            Console.Write(string.Create(CultureInfo.InvariantCulture, $"{name,-12}{watch.Elapsed.TotalSeconds,10:F2}"));
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static string PathOfFile() => Path.Combine(Path.GetTempPath(), $"qwixsharp-{Environment.ProcessId}.tflite");

    private static void Measure(string name)
    {
        var (model, inputs) = Models[name]();
        model.eval();
        double weights = model.parameters().Concat(model.buffers()).Sum(p => p.NumberOfElements * p.ElementSize);
        // The first use of the library's and libtorch's code costs memory that no model is to blame for.
        using (var small = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 4)))
            LiteRtConverter.Convert(small, zeros(1, 3, 8, 8));
        var path = PathOfFile();
        List<double> seconds = [];
        double peak = 0;
        try
        {
            for (int i = 0; i < 4; i++)
            {
                GC.Collect();
                long before = Status("VmRSS");
                File.WriteAllText("/proc/self/clear_refs", "5"); // from here on the peak is counted anew
                var watch = Stopwatch.StartNew();
                LiteRtConverter.Convert(model, inputs).Export(path);
                seconds.Add(watch.Elapsed.TotalSeconds);
                peak = Math.Max(peak, Status("VmHWM") - before);
            }

            double later = seconds.Skip(1).Order().ElementAt(1);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{weights / 1e6,12:F1}{seconds[0],10:F2}{later,10:F2}{peak / weights,16:F2}{new FileInfo(path).Length / weights,16:F3}"));
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static long Status(string entry) =>
        1024 * long.Parse(File.ReadLines("/proc/self/status").First(l => l.StartsWith(entry, StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
}
