using System.Globalization;
using QwixSharp.Benchmarks.Checkpoints;
using QwixSharp.Benchmarks.Digits;
using QwixSharp.Benchmarks.Figures;
using QwixSharp.Benchmarks.Llm;
using QwixSharp.Benchmarks.Lora;
using QwixSharp.Benchmarks.Models;
using QwixSharp.Benchmarks.Products;
using QwixSharp.Benchmarks.Training;
using TorchSharp;

switch (args.FirstOrDefault())
{
    case "matmul":
        MatMulBenchmark.Run(args.ElementAtOrDefault(1) ?? "", int.Parse(args.ElementAtOrDefault(2) ?? "0", CultureInfo.InvariantCulture), args.Contains("--processor-time"));
        return 0;
    case "small":
        torch.set_num_threads(2);
        if (args.ElementAtOrDefault(1) is { } rows)
            EncoderProducts.Run(int.Parse(rows, CultureInfo.InvariantCulture));
        else
            SmallProducts.Run();
        return 0;
    case "conv":
        ConvolutionBenchmark.Run(args.Contains("--processor-time"));
        return 0;
    case "peers":
        return PeerBenchmark.Run(Option("--rows") ?? "", Option("--json"), int.Parse(Option("--threads") ?? "2", CultureInfo.InvariantCulture));
    case "allocations":
        SteadyProducts.Run();
        return 0;
    case "encoder":
        EncoderProfile.Run();
        return 0;
    case "memory":
        MemoryBenchmark.Run(args.ElementAtOrDefault(1));
        return 0;
    case "training":
        TrainingBenchmark.Run(args.Skip(1).FirstOrDefault(a => !a.StartsWith("--", StringComparison.Ordinal)) ?? "", args.Contains("--processor-time"));
        return 0;
    case "passes":
        PassBenchmark.Run(args.Contains("--processor-time"));
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
    case "export":
        ExportBenchmark.Run(args.ElementAtOrDefault(1), onlyFirst: args.Contains("first"));
        return 0;
    case "digits":
        DigitsBenchmark.Run();
        return 0;
    case "lora":
        LoraBenchmark.Run(args.Contains("--processor-time"));
        return 0;
    default:
        Console.Error.WriteLine("""
            usage: -- matmul [part of a row's name [M]] [--processor-time]   products against other libraries
                   -- small [M]                                             the small products of a language model's token; of an encoder's M tokens
                   -- conv [--processor-time]                               convolutions against other libraries
                   -- peers [--rows PART] [--json FILE] [--threads N]       every figure against libtorch, ONNX Runtime and ggml
                   -- allocations                                           products under BenchmarkDotNet, with what they allocate
                   -- encoder                                               where the time of the MiniLM encoder goes
                   -- memory [scheme]                                       memory of a quantized model
                   -- digits                                                accuracy of PTQ and QAT against the reference's
                   -- training [part of a model's name] [--processor-time] a training step against the plain one
                   -- passes [--processor-time]                            element-wise passes of training against memory bandwidth
                   -- overhead                                              cost of interception
                   -- llm [model.gguf [rounds [peers|caches|profile]]]      a language model against llama.cpp
                   -- export [model [first]]                                time and memory of writing .tflite files
                   -- checkpoint [--size GB] [--folder PATH]                quantizing a checkpoint against copying it
                   -- lora [--processor-time]                               training steps with adapters against full fine-tuning
            """);
        return 1;
}

string? Option(string name) => args.SkipWhile(a => a != name).ElementAtOrDefault(1);
