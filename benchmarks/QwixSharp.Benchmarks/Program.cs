using System.Globalization;
using QwixSharp.Benchmarks.Checkpoints;
using QwixSharp.Benchmarks.Llm;
using QwixSharp.Benchmarks.Models;
using QwixSharp.Benchmarks.Products;

switch (args.FirstOrDefault())
{
    case "matmul":
        MatMulBenchmark.Run(args.ElementAtOrDefault(1) ?? "", int.Parse(args.ElementAtOrDefault(2) ?? "0", CultureInfo.InvariantCulture), args.Contains("--processor-time"));
        return 0;
    case "conv":
        ConvolutionBenchmark.Run(args.Contains("--processor-time"));
        return 0;
    case "memory":
        MemoryBenchmark.Run(args.ElementAtOrDefault(1));
        return 0;
    case "overhead":
        OverheadBenchmark.Run();
        return 0;
    case "llm":
        LlmBenchmark.Run(args.ElementAtOrDefault(1) ?? "../shared/models/SmolLM2-135M-Instruct.Q4_1.gguf", int.Parse(args.ElementAtOrDefault(2) ?? "5", CultureInfo.InvariantCulture), args.ElementAtOrDefault(3) ?? "");
        return 0;
    case "checkpoint":
        CheckpointBenchmark.Run(double.Parse(Option("--size") ?? "4", CultureInfo.InvariantCulture), Option("--folder"));
        return 0;
    default:
        Console.Error.WriteLine("""
            usage: -- matmul [part of a row's name [M]] [--processor-time]   products against other libraries
                   -- conv [--processor-time]                               convolutions against other libraries
                   -- memory [scheme]                                       memory of a quantized model
                   -- overhead                                              cost of interception
                   -- llm [model.gguf [rounds [peers|caches|profile]]]      a language model against llama.cpp
                   -- checkpoint [--size GB] [--folder PATH]                quantizing a checkpoint against copying it
            """);
        return 1;
}

string? Option(string name) => args.SkipWhile(a => a != name).ElementAtOrDefault(1);
