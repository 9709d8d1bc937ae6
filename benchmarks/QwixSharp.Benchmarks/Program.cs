using QwixSharp.Benchmarks.Products;

switch (args.FirstOrDefault())
{
    case "matmul":
        MatMulBenchmark.Run(args.Skip(1).FirstOrDefault() ?? "");
        return 0;
    default:
        Console.Error.WriteLine("usage: -- matmul [part of a row's name]");
        return 1;
}
