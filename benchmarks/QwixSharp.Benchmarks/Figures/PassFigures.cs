using QwixSharp.Arrays;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Passes;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Figures;

/// <summary>The figures of fake-quant over a 4096 × 4096 float32 weight, against libtorch moving the same bytes.</summary>
internal static unsafe class PassFigures
{
    private const int Size = 4096;

    public static Figure[] FakeQuant(int threads, Goal goal)
    {
        var shape = new RowShape(Size, Size, Size);
        var forward = Of("ours, fake-quant forward", (x, _, y) => FakeQuantPass.AbsMax(Floats(x), shape, CodeRange.Int8, Floats(y), threads), IsFakeQuantized);
        var backward = Of("ours, gradient mask", (x, gradient, y) => Mask(x, gradient, shape, y, threads), IsMasked);
        var copy = Of("libtorch copy, as many bytes", (x, _, y) => y.copy_(x), (_, _, _) => true);
        var add = Of("libtorch add in place, as many bytes", (x, _, y) => y.add_(x), (_, _, _) => true);
        return [new("fake-quant forward 4096 × 4096", goal, forward, copy), new("fake-quant backward 4096 × 4096", goal, backward, add)];
    }

    private static Candidate Of(string name, Action<Tensor, Tensor, Tensor> run, Func<Tensor, Tensor, Tensor, bool> isRight) => new(name, () =>
    {
        Tensor x = randn(Size, Size), gradient = randn(Size, Size), y = zeros(Size, Size);
        return new Prepared(() => run(x, gradient, y), () => isRight(x, gradient, y), () =>
        {
            x.Dispose();
            gradient.Dispose();
            y.Dispose();
        });
    });

    private static void Mask(Tensor x, Tensor gradient, RowShape shape, Tensor y, int threads)
    {
        using Tensor low = full(Size, -2f), high = full(Size, 2f);
        FakeQuantPass.Mask(Floats(x), Floats(gradient), shape, Floats(low), Floats(high), Floats(y), threads);
    }

    private static bool IsFakeQuantized(Tensor x, Tensor gradient, Tensor y)
    {
        using var scope = NewDisposeScope();
        var scale = x.abs().amax([1], keepdim: true) / 127.5f;
        return y.equal((x / scale).round().clamp(-128, 127) * scale).all().item<bool>();
    }

    private static bool IsMasked(Tensor x, Tensor gradient, Tensor y)
    {
        using var scope = NewDisposeScope();
        return y.equal(where(x.abs() <= 2, gradient, 0)).all().item<bool>();
    }

    private static float* Floats(Tensor tensor) => (float*)TensorMemory.Address(tensor);
}
