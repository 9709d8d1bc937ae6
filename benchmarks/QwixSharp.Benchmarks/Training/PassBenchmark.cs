using QwixSharp.Arrays;
using QwixSharp.Benchmarks.Products;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Passes;
using QwixSharp.Kernels.Weights;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Training;

/// <summary>
/// The element-wise passes of a training step over a 4096 × 4096 float32 weight, against libtorch moving the same bytes.
/// </summary>
internal static unsafe class PassBenchmark
{
    private const int Size = 4096;
    private const double Bit = 1 / 32.0;
    private const double Megabytes = (double)Size * Size * sizeof(float) / 1e6;

    internal static void Run(bool processorTime)
    {
        using var noGrad = no_grad();
        if (processorTime)
            set_num_threads(1);
        using Tensor x = randn(Size, Size), y = empty(Size, Size), gradient = randn(Size, Size), other = randn(Size, Size);
        using var bits = empty(BitMaskPass.Bytes((long)Size * Size), dtype: ScalarType.Byte);
        using var codes = empty([Size, Size], dtype: ScalarType.Int8);
        using var scales = empty(Size);
        float* px = Floats(x), py = Floats(y), pg = Floats(gradient), ps = Floats(scales);
        var pb = (byte*)TensorMemory.Address(bits);
        var pc = (sbyte*)TensorMemory.Address(codes);
        var shape = new RowShape(Size, Size, Size);
        int threads = get_num_threads();
        using var weight = PackedWeight.Quantize(px, Size, Size, Size, 8, threads);

        var race = new Race(processorTime);
        race.Add("copy", () => y.copy_(x));
        race.Add("add in place", () => other.add_(gradient));
        race.Add("read", () => x.sum().Dispose());
        race.Add("fake-quant forward", () => FakeQuantPass.AbsMax(px, shape, CodeRange.Int8, 1, py, null, threads));
        race.Add("fake-quant forward, clipping", () => FakeQuantPass.AbsMax(px, shape, CodeRange.Int8, 0.8f, py, pb, threads));
        race.Add("fake-quant forward, minmax", () => FakeQuantPass.MinMax(px, shape, CodeRange.Int8, py, threads));
        race.Add("fake-quant backward", () => BitMaskPass.Apply(pg, pb, (long)Size * Size, py, threads));
        race.Add("quantize", () => QuantizePass.AbsMax(px, shape, CodeRange.Int8, pc, ps, threads));
        race.Add("quantize and pack", () => WeightQuantizer.Run(weight, px, CodeRange.Int8, threads));
        race.Add("transpose packed codes", () => weight.Transpose(threads).Dispose());

        var times = race.Run().ToDictionary(t => t.Name, t => t.Least);
        Print("fake-quant forward", 2, "copy", 2, 0.7);
        Print("fake-quant forward, minmax", 2, "copy", 2, 0.7);
        Print("fake-quant forward, clipping", 2 + Bit, "copy", 2, 0.7);
        Print("fake-quant backward", 2 + Bit, "copy", 2, 0.7);
        Print("quantize", 1.25, "read", 1, null);
        Print("quantize and pack", 1.25, "read", 1, null);
        Print("transpose packed codes", 0.5, "copy", 2, null);

        void Print(string name, double passes, string reference, double referencePasses, double? goal)
        {
            double speed = passes * Megabytes / times[name], limit = referencePasses * Megabytes / times[reference];
            string verdict = goal is null ? "" : $"   goal {goal:p0} {(speed / limit >= goal ? "reached" : "missed")}";
            Console.WriteLine($"{name,-30}{times[name],8:f2} ms{speed,8:f1} GB/s   {speed / limit,6:p0} of {reference}'s {limit:f1} GB/s{verdict}");
        }
    }

    private static float* Floats(Tensor tensor) => (float*)TensorMemory.Address(tensor);
}
