using System.Diagnostics;
using QwixSharp.Interception;
using QwixSharp.Samples.Common;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Benchmarks.Models;

/// <summary>
/// Pass-through interception, in which every op goes through an interceptor that answers with the op itself, against the
/// plain call: ResNet-18 on an image of 224 × 224, and the MiniLM encoder on a text of 32 tokens.
/// </summary>
internal static class OverheadBenchmark
{
    private const int Rounds = 200;

    internal static void Run()
    {
        using var noGrad = no_grad();
        using var image = randn(1, 3, 224, 224);
        using var resnet = torchvision.models.resnet18();
        resnet.eval();
        var copiedResnet = Interceptor.Rewrite<Func<object, Tensor, Tensor>>(typeof(Module<Tensor, Tensor>).GetMethod("call")!);
        Compare("ResNet-18, 224", resnet, () => resnet.call(image), () => copiedResnet(resnet, image));

        using var ids = randint(0, 30000, [1, 32], int64);
        using var mask = ones(1, 32, int64);
        using var bert = new BertEncoder(new BertSize());
        bert.eval();
        var copiedBert = Interceptor.Rewrite<Func<object, Tensor, Tensor, Tensor>>(typeof(Module<Tensor, Tensor, Tensor>).GetMethod("call")!);
        Compare("MiniLM, 32 tokens", bert, () => bert.call(ids, mask), () => copiedBert(bert, ids, mask));
    }

    private static void Compare(string name, nn.Module model, Func<Tensor> plain, Func<Tensor> copied)
    {
        var passThrough = new PassThrough();
        List<double> plainTimes = [], passTimes = [];
        for (int round = -20; round < Rounds; round++)
        {
            // Each goes first every other time: what one leaves in the caches helps the other.
            bool plainFirst = round % 2 == 0;
            double plainTime = plainFirst ? Time(plain) : 0;
            double passTime;
            using (Interceptor.Enter(model, passThrough))
                passTime = Time(copied);
            if (!plainFirst)
                plainTime = Time(plain);
            if (round < 0)
                continue;
            plainTimes.Add(plainTime);
            passTimes.Add(passTime);
        }

        double a = Median(plainTimes), b = Median(passTimes);
        Console.WriteLine($"{name,-20} plain {a,8:f3} ms   pass-through {b,8:f3} ms   {(b / a) - 1,7:p1}   fastest {plainTimes.Min():f3} / {passTimes.Min():f3} ms");
    }

    private static double Time(Func<Tensor> call)
    {
        long start = Stopwatch.GetTimestamp();
        using (NewDisposeScope())
            call();
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
    }

    private static double Median(List<double> times) => times.Order().ElementAt(times.Count / 2);

    private sealed class PassThrough : IOpInterceptor
    {
        public bool Wants(OpDescriptor op) => true;

        public object? Intercept(in OpCall call) => call.Proceed();
    }
}
