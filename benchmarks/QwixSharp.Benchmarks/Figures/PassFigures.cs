using QwixSharp.Arrays;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Passes;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Figures;

/// <summary>The figures of fake-quant over a 4096 × 4096 float32 weight, against libtorch moving the same bytes.</summary>
internal static unsafe class PassFigures
{
    private const int Size = 4096;

    /// <summary>Of the range, for the rows that clip: about one value in 400 lies outside.</summary>
    private const float Factor = 0.8f;

    /// <summary>
    /// The passes that training runs: forwards without bits, where the range leaves nothing out, and with them, where it can;
    /// backwards from the bits. Each moves two arrays, and those with bits a thirty-second of one more. libtorch's copy moves two,
    /// its addition in place three.
    /// </summary>
    public static Figure[] FakeQuant(int threads, Goal goal)
    {
        var shape = new RowShape(Size, Size, Size);
        var forward = Of("ours, fake-quant forward", (x, _, _, y) => FakeQuantPass.AbsMax(Floats(x), shape, CodeRange.Int8, 1, Floats(y), null, threads), (x, _, _, y) => IsFakeQuantized(x, y, 1));
        var marking = Of(
            "ours, fake-quant forward with bits",
            (x, _, bits, y) => FakeQuantPass.AbsMax(Floats(x), shape, CodeRange.Int8, Factor, Floats(y), Bits(bits), threads),
            (x, _, bits, y) => IsFakeQuantized(x, y, Factor) && bits.equal(InsideBits(x)).all().item<bool>());
        var backward = Of(
            "ours, gradient from bits",
            (_, gradient, bits, y) => BitMaskPass.Apply(Floats(gradient), Bits(bits), (long)Size * Size, Floats(y), threads),
            (x, gradient, _, y) => y.equal(where(Inside(x), gradient, 0)).all().item<bool>());
        var copy = Of("libtorch copy, as many bytes", (x, _, _, y) => y.copy_(x), (_, _, _, _) => true);
        var add = Of("libtorch add in place, half as many bytes more", (x, _, _, y) => y.add_(x), (_, _, _, _) => true);
        return
        [
            new("fake-quant forward 4096 × 4096", goal, forward, copy),
            new("fake-quant forward, clipping, 4096 × 4096", goal, marking, copy),
            new("fake-quant backward 4096 × 4096", goal, backward, copy, add),
        ];
    }

    private static Candidate Of(string name, Action<Tensor, Tensor, Tensor, Tensor> run, Func<Tensor, Tensor, Tensor, Tensor, bool> isRight) => new(name, () =>
    {
        Tensor x = randn(Size, Size), gradient = randn(Size, Size), bits = InsideBits(x), y = zeros(Size, Size);
        return new Prepared(() => run(x, gradient, bits, y), () => isRight(x, gradient, bits, y), () =>
        {
            x.Dispose();
            gradient.Dispose();
            bits.Dispose();
            y.Dispose();
        });
    });

    private static bool IsFakeQuantized(Tensor x, Tensor y, float factor)
    {
        using var scope = NewDisposeScope();
        var scale = x.abs().amax([1], keepdim: true) * factor / 127.5f;
        return y.equal((x / scale).round().clamp(-128, 127) * scale).all().item<bool>();
    }

    private static Tensor Inside(Tensor x) => x.abs() <= x.abs().amax([1], keepdim: true) * Factor;

    /// <summary>The bits of the values inside, by tensor ops.</summary>
    private static Tensor InsideBits(Tensor x)
    {
        using var scope = NewDisposeScope();
        var places = tensor(new byte[] { 1, 2, 4, 8, 16, 32, 64, 128 });
        return (Inside(x).reshape(-1, 8).to(ScalarType.Byte) * places).sum(1, type: ScalarType.Byte).MoveToOuterDisposeScope();
    }

    private static float* Floats(Tensor tensor) => (float*)TensorMemory.Address(tensor);

    private static byte* Bits(Tensor tensor) => (byte*)TensorMemory.Address(tensor);
}
