using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;
using QwixSharp.Providers;
using QwixSharp.Providers.Fusion;
using QwixSharp.Tests.Interception;
using QwixSharp.Tests.Interception.Deferred;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>Chains of ops that are computed together: recognized as models write them, and right to float32 rounding.</summary>
public class FusedOpsTests
{
    private static readonly Dictionary<string, (OpKind Root, Func<Tensor, Tensor, Tensor> Code)> Norms = new()
    {
        ["x * rsqrt * w"] = (OpKind.Multiply, (x, w) => x * (x.square().mean([-1], keepdim: true) + 1e-5).rsqrt() * w),
        ["w * (x * rsqrt)"] = (OpKind.Multiply, (x, w) => w * (x * rsqrt(x.pow(2).mean([-1], keepdim: true) + 1e-5))),
        ["x * (rsqrt * w)"] = (OpKind.Multiply, (x, w) => x * (((x * x).mean([-1], keepdim: true) + 1e-5).rsqrt() * w)),
        ["(x * w) * rsqrt"] = (OpKind.Multiply, (x, w) => x * w * (x.square().mean([-1], keepdim: true) + 1e-5).rsqrt()),
        ["x / sqrt * w"] = (OpKind.Multiply, (x, w) => x / sqrt(x.pow(2).mean([-1], keepdim: true) + 1e-5) * w),
        ["w * x / sqrt"] = (OpKind.Divide, (x, w) => w * x / (x.square().mean([-1], keepdim: true) + 1e-5).sqrt()),
        ["x * (1 / sqrt)"] = (OpKind.Multiply, (x, w) => w * (x * (1 / (x.square().mean([-1], keepdim: true) + 1e-5).sqrt()))),
        ["without weight"] = (OpKind.Multiply, (x, _) => x * (x.square().mean([-1], keepdim: true) + 1e-5).rsqrt()),
        ["a power of -0.5"] = (OpKind.Multiply, (x, w) => x * (x.square().mean([-1], keepdim: true) + 1e-5).pow(-0.5) * w),
    };

    private static readonly Dictionary<string, Func<Tensor, Tensor, Tensor>> Gates = new()
    {
        ["silu"] = (g, x) => functional.silu(g) * x,
        ["x first"] = (g, x) => x * functional.silu(g),
        ["sigmoid"] = (g, x) => g * g.sigmoid() * x,
    };

    private static readonly Dictionary<string, Func<Tensor, Tensor, Tensor, Tensor>> Rotations = new()
    {
        ["chunk"] = (x, c, s) => { var h = x.chunk(2, dim: -1); return x * c + cat([-h[1], h[0]], dim: -1) * s; },
        ["narrow"] = (x, c, s) => cat([-x.narrow(3, 4, 4), x.narrow(3, 0, 4)], -1) * s + c * x,
        ["an array"] = (x, c, s) => x * c + s * cat(new Tensor[] { x.narrow(-1, 4, 4).neg(), x.narrow(-1, 0, 4) }, -1),
    };

    public static TheoryData<string> NormNames => [.. Norms.Keys];

    public static TheoryData<string> GateNames => [.. Gates.Keys];

    public static TheoryData<string> RotationNames => [.. Rotations.Keys];

    [Theory]
    [MemberData(nameof(NormNames))]
    public void NormsAreOnePass(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var w = randn(37);
        var code = Norms[name].Code;
        Check(randn(3, 5, 37), x => code(x, w), Norms[name].Root, RmsNormPattern.TryCompute);
    }

    [Theory]
    [MemberData(nameof(GateNames))]
    public void GatedProductsAreOnePass(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var g = randn(3, 37) * 8;
        Check(randn(3, 37), x => Gates[name](g, x), OpKind.Multiply, GatePattern.TryCompute);
    }

    [Theory]
    [MemberData(nameof(RotationNames))]
    public void RotationsAreOnePass(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor cos = randn(5, 8), sin = randn(5, 8);
        Check(randn(2, 5, 24), x => Rotations[name](x.view(2, 5, 3, 8).transpose(1, 2), cos, sin), OpKind.Add, RotaryPattern.TryCompute);
        Check(randn(2, 3, 5, 8), x => Rotations[name](x, cos, sin), OpKind.Add, RotaryPattern.TryCompute);
    }

    [Fact]
    public void WhatOnlyLooksLikeANormIsNone()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var w = randn(3, 37);
        Func<Tensor, Tensor>[] others =
        [
            x => x * ((x + 0).square().mean([-1], keepdim: true) + 1e-5).rsqrt() * w[0],
            x => x * (x.square().mean([0], keepdim: true) + 1e-5).rsqrt() * w[0],
            x => x * (x.pow(3).mean([-1], keepdim: true) + 50).rsqrt(),
            x => x * (x.square().mean([-1], keepdim: true) + 1e-5).rsqrt() * w,
        ];
        foreach (var other in others)
        {
            var x = randn(3, 37);
            using var model = new LambdaModel((_, t) => other(t));
            var seen = new PatternInterceptor(OpKind.Multiply, RmsNormPattern.TryCompute);
            AssertClose(other(x), Intercepted.Run(model, x, seen));
        }
    }

    [Fact]
    public void LookingForImagesComputesNothing()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor cos = randn(5, 8), sin = randn(5, 8);
        bool AfterImages(DeferredNode node, DeferredGraph graph) => !ImageChain.TryCompute(node, graph) && RotaryPattern.TryCompute(node, graph);

        Check(randn(2, 3, 5, 8), x => Rotations["chunk"](x, cos, sin), OpKind.Add, AfterImages);
    }

    [Fact]
    public void APassThatFailsGivesItsMemoryBack()
    {
        const int Length = 7919;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        nint address = 0;
        bool Fail(DeferredNode node, DeferredGraph graph)
        {
            // The value of an operand is not needed as a tensor, so that its memory is lent.
            using var output = new NodeOutput(node.Source(0)!, graph);
            address = output.Address;
            throw new ArithmeticException("as a kernel might");
        }

        using var model = new LambdaModel((_, x) => functional.silu(x) * x);
        Assert.Throws<ArithmeticException>(() => Intercepted.Run(model, randn(Length), new PatternInterceptor(OpKind.Multiply, Fail)));
        using var again = new LentMemory(Length);
        Assert.Equal(address, again.Address);
    }

    [Fact]
    public void AQuantizedModelGivesTheSameWithAndWithout()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = new Gated();
        model.eval();
        var x = randn(2, 5, 32);
        QuantizedModule<Tensor, Tensor> Quantize(bool fuses) => Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "int8" }]) { FusesOps = fuses }, x);
        using QuantizedModule<Tensor, Tensor> fused = Quantize(true), plain = Quantize(false);

        for (var run = 0; run < 2; run++)
            AssertClose(plain.call(x), fused.call(x));
    }

    private static void Check(Tensor x, Func<Tensor, Tensor> code, OpKind root, Func<DeferredNode, DeferredGraph, bool> pattern)
    {
        using var model = new LambdaModel((_, t) => code(t));
        var seen = new PatternInterceptor(root, pattern);
        AssertClose(code(x), Intercepted.Run(model, x, seen));
        Assert.Equal(1, seen.Matches);
    }

    private static void AssertClose(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.shape, actual.shape);
        Assert.InRange((expected - actual).abs().max().item<float>(), 0, 2e-6f * Math.Max(1, expected.abs().max().item<float>()));
    }

    private sealed class Gated : Module<Tensor, Tensor>
    {
        private readonly Linear gate = Linear(32, 48);
        private readonly Linear up = Linear(32, 48, hasBias: false);
        private readonly Linear down = Linear(48, 32);
        private readonly Parameter scale = Parameter(rand(32));

        public Gated() : base(nameof(Gated)) => RegisterComponents();

        public override Tensor forward(Tensor x)
        {
            var y = x * (x.square().mean([-1], keepdim: true) + 1e-5).rsqrt() * scale;
            return x + down.call(functional.silu(gate.call(y)) * up.call(y));
        }
    }
}
