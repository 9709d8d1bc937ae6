using QwixSharp.Arrays;
using QwixSharp.Kernels.Chains;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Kernels;

/// <summary>Norms, rotations and gates of every length, against libtorch's ops; where these give no number, none comes of the kernels.</summary>
[Collection(RandomState.Name)]
public unsafe class ChainKernelTests
{
    private static readonly int[] Lengths = [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 100];

    private static readonly Dictionary<string, (Func<Tensor, Tensor> Plain, Func<Tensor, Tensor> Kernel)> Ops = new()
    {
        ["layer norm"] = (x => nn.functional.layer_norm(x, [x.size(1)], eps: 1e-3), x => LayerNorm(x, null, null, null)),
        ["layer norm of a sum"] = (
            x => nn.functional.layer_norm(x + Other(x), [x.size(1)], Row(x), Row(x) - 1, 1e-3),
            x => LayerNorm(x, Other(x), Row(x), Row(x) - 1)),
        ["rms norm"] = (x => x * (x.square().mean([-1], keepdim: true) + 1e-3).rsqrt(), x => RmsNorm(x, null)),
        ["weighted rms norm"] = (x => x * (x.square().mean([-1], keepdim: true) + 1e-3).rsqrt() * Row(x), x => RmsNorm(x, Row(x))),
        ["gate"] = (x => nn.functional.silu(x) * Other(x), x => Pairwise(x, (a, b, y, n) => ElementwiseKernel.SiluTimes(a, b, y, n, 2))),
        ["gated"] = (x => nn.functional.silu(Other(x)) * x, x => Pairwise(x, (a, b, y, n) => ElementwiseKernel.SiluTimes(b, a, y, n, 2))),
        ["sum"] = (x => x + Other(x), x => Pairwise(x, (a, b, y, n) => ElementwiseKernel.Add(a, b, y, n, 2))),
    };

    public static TheoryData<string> Names => [.. Ops.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void EqualLibtorchs(string name)
    {
        using var scope = NewDisposeScope();
        manual_seed(5);
        foreach (int length in Lengths)
            foreach (int rows in new[] { 1, 3, 700 })
            {
                var x = randn(rows, length) * 3;
                Assert.True(Ops[name].Plain(x).allclose(Ops[name].Kernel(x), rtol: 2e-5, atol: 2e-5), $"[{rows}, {length}]");
            }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void LoseNoValueThatIsNotFinite(string name)
    {
        using var scope = NewDisposeScope();
        manual_seed(6);
        foreach (int length in Lengths)
            for (int place = 0; place < length; place++)
                foreach (var value in new[] { float.NaN, float.PositiveInfinity, float.NegativeInfinity })
                {
                    using var one = NewDisposeScope();
                    var x = randn(3, length);
                    x[1, place] = value;
                    Tensor expected = Ops[name].Plain(x).isfinite(), actual = Ops[name].Kernel(x).isfinite();
                    Assert.True(actual.logical_and(expected.logical_not()).any().item<bool>() == false, $"{value} at {place} of {length}");
                    Assert.True(actual[0].all().item<bool>() && actual[2].all().item<bool>());
                }
    }

    [Fact]
    public void RotationsOfEverySizeTurnTheirPairs()
    {
        using var scope = NewDisposeScope();
        manual_seed(7);
        foreach (int size in new[] { 2, 6, 14, 16, 18, 34, 64 })
            for (int place = -1; place < size; place++)
            {
                using var one = NewDisposeScope();
                // Heads lie in tokens, whose rows have gaps.
                Tensor tokens = randn(2, 5, (3 * size) + 1), cos = randn(5, size), sin = randn(5, size), y = empty(2, 3, 5, size);
                var x = tokens.narrow(2, 1, 3 * size).view(2, 5, 3, size).transpose(1, 2);
                if (place >= 0)
                    x[1, 2, 4, place] = place % 2 == 0 ? float.NaN : float.NegativeInfinity;
                var shape = new RotaryShape(2, 3, 5, size, x.stride(0), x.stride(1), x.stride(2));
                RotaryKernel.Run(At(x), shape, At(cos), At(sin), At(y), 2);
                var halves = x.chunk(2, dim: -1);
                var expected = x * cos + cat([-halves[1], halves[0]], dim: -1) * sin;
                Assert.True(expected.isfinite().Equals(y.isfinite()), $"{place} of {size}");
                Assert.True(expected.nan_to_num(0, 0, 0).allclose(y.nan_to_num(0, 0, 0), rtol: 1e-5, atol: 1e-6), $"{size}");
            }
    }

    /// <summary>Numbers that depend on a shape alone.</summary>
    private static Tensor Row(Tensor x) => linspace(0.5, 1.5, x.size(1));

    private static Tensor Other(Tensor x) => linspace(-3, 4, x.numel()).view(x.shape);

    private static Tensor LayerNorm(Tensor x, Tensor? added, Tensor? weight, Tensor? bias)
    {
        var y = empty_like(x);
        LayerNormKernel.Run(At(x), At(added), At(weight), At(bias), At(y), x.size(0), x.size(1), 1e-3f, 2);
        return y;
    }

    private static Tensor RmsNorm(Tensor x, Tensor? weight)
    {
        var y = empty_like(x);
        RmsNormKernel.Run(At(x), At(weight), At(y), x.size(0), x.size(1), 1e-3f, 2);
        return y;
    }

    private delegate void Pair(float* a, float* b, float* y, long count);

    private static Tensor Pairwise(Tensor x, Pair kernel)
    {
        var (other, y) = (Other(x), empty_like(x));
        kernel(At(x), At(other), At(y), x.numel());
        return y;
    }

    private static float* At(Tensor? x) => x is null ? null : (float*)TensorMemory.Address(x);
}
