using QwixSharp.Interception;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Interception;

/// <summary>Modules of any number of inputs, and the checks of <see cref="Interceptor.Rewrite"/>.</summary>
public class SignatureTests
{
    [Fact]
    public void TwoInputs()
    {
        using var scope = NewDisposeScope();
        using var model = new Two();
        var x = ones(2, 4);
        var call = Interceptor.Rewrite<Func<object, Tensor, int, Tensor>>(typeof(Module<Tensor, int, Tensor>).GetMethod("call")!);
        Check(model, 2, () => model.call(x, 3), () => call(model, x, 3));
    }

    [Fact]
    public void ThreeInputsAndATupleResult()
    {
        using var scope = NewDisposeScope();
        using var model = new Three();
        var x = ones(2, 4);
        var call = Interceptor.Rewrite<Func<object, Tensor, Tensor?, bool, (Tensor, long)>>(typeof(Module<Tensor, Tensor?, bool, (Tensor, long)>).GetMethod("call")!);
        Check(model, 2, () => model.call(x, null, true).Item1, () => call(model, x, null, true).Item1);
    }

    [Fact]
    public void FourInputs()
    {
        using var scope = NewDisposeScope();
        using var model = new Four();
        var x = ones(2, 4);
        var call = Interceptor.Rewrite<Func<object, Tensor, Tensor, Tensor, Tensor, Tensor>>(typeof(Module<Tensor, Tensor, Tensor, Tensor, Tensor>).GetMethod("call")!);
        Check(model, 3, () => model.call(x, x, x, x), () => call(model, x, x, x, x));
    }

    [Fact]
    public void FiveInputs()
    {
        using var scope = NewDisposeScope();
        using var model = new Five();
        var x = ones(2, 4);
        var call = Interceptor.Rewrite<Func<object, Tensor, double, Tensor, Tensor, Tensor, Tensor>>(typeof(Module<Tensor, double, Tensor, Tensor, Tensor, Tensor>).GetMethod("call")!);
        Check(model, 4, () => model.call(x, 2.0, x, x, x), () => call(model, x, 2.0, x, x, x));
    }

    [Fact]
    public void SixInputs()
    {
        using var scope = NewDisposeScope();
        using var model = new Six();
        var x = ones(2, 4);
        var call = Interceptor.Rewrite<Func<object, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>>(typeof(Module<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>).GetMethod("call")!);
        Check(model, 5, () => model.call(x, x, x, x, x, x), () => call(model, x, x, x, x, x, x));
    }

    [Fact]
    public void ASequentialOfTwoInputs()
    {
        using var scope = NewDisposeScope();
        using var model = new TwoInputSequential();
        var x = ones(2, 4);
        var call = Interceptor.Rewrite<Func<object, Tensor, Tensor, Tensor>>(typeof(Module<Tensor, Tensor, Tensor>).GetMethod("call")!);
        var seen = Check(model, 3, () => model.call(x, x), () => call(model, x, x));
        Assert.Equal(["mix", "last"], seen.Calls.Skip(1).Select(c => c.Path));
    }

    [Fact]
    public void ADelegateIsMadeOnceAndFitsEveryModel()
    {
        var method = typeof(Module<Tensor, Tensor>).GetMethod("call")!;
        Assert.Same(Intercepted.Call, Interceptor.Rewrite<Func<object, Tensor, Tensor>>(method));
        using var scope = NewDisposeScope();
        using var a = Linear(4, 4);
        using var b = ReLU();
        var x = randn(2, 4);
        Assert.True(Intercepted.BitEqual(a.call(x), Intercepted.Call(a, x)));
        Assert.True(Intercepted.BitEqual(b.call(x), Intercepted.Call(b, x)));
    }

    [Fact]
    public void WhatDoesNotFitIsRefused()
    {
        var call = typeof(Module<Tensor, Tensor>).GetMethod("call")!;
        Assert.Contains("System.Object", Assert.Throws<ArgumentException>(() => Interceptor.Rewrite<Func<Tensor, Tensor>>(call)).Message);
        Assert.Throws<ArgumentException>(() => Interceptor.Rewrite<Func<object, Tensor, object>>(call));
        Assert.Throws<ArgumentException>(() => Interceptor.Rewrite<Func<object, string, bool>>(typeof(string).GetMethod("Contains", [typeof(string)])!));
        Assert.Throws<ArgumentException>(() => Interceptor.Rewrite<Func<Tensor, Tensor>>(typeof(TorchSharp.torch).GetMethod("abs", [typeof(Tensor)])!));
        Assert.Throws<ArgumentNullException>(() => Interceptor.Rewrite<Func<object, Tensor, Tensor>>(null!));
        Assert.Throws<ArgumentNullException>(() => Interceptor.Enter(null!, new RecordingInterceptor()));
        Assert.Throws<NullReferenceException>(() => Interceptor.Rewrite<Func<object, Tensor, Tensor>>(typeof(Module<Tensor, Tensor>).GetMethod("forward")!)(null!, null!));
    }

    private static RecordingInterceptor Check(Module model, int ops, Func<Tensor> plain, Func<Tensor> rewritten)
    {
        var seen = new RecordingInterceptor();
        var expected = plain();
        Tensor actual;
        using (Interceptor.Enter(model, seen)) actual = rewritten();
        Assert.True(Intercepted.BitEqual(expected, actual));
        Assert.Equal(ops, seen.Calls.Count);
        return seen;
    }

    private sealed class Two() : Module<Tensor, int, Tensor>("two")
    {
        public override Tensor forward(Tensor x, int n) => (x * n) + x;
    }

    private sealed class Three() : Module<Tensor, Tensor?, bool, (Tensor, long)>("three")
    {
        public override (Tensor, long) forward(Tensor x, Tensor? y, bool twice) => (twice ? x + x - (y ?? x) : x, x.shape[0]);
    }

    private sealed class Four() : Module<Tensor, Tensor, Tensor, Tensor, Tensor>("four")
    {
        public override Tensor forward(Tensor a, Tensor b, Tensor c, Tensor d) => a + b + c + d;
    }

    private sealed class Five() : Module<Tensor, double, Tensor, Tensor, Tensor, Tensor>("five")
    {
        public override Tensor forward(Tensor a, double f, Tensor c, Tensor d, Tensor e) => (a * f) + c + d + e;
    }

    private sealed class Six() : Module<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>("six")
    {
        public override Tensor forward(Tensor a, Tensor b, Tensor c, Tensor d, Tensor e, Tensor f) => a + b + c + d + e + f;
    }

    private sealed class Mix() : Module<Tensor, Tensor, Tensor>("mix")
    {
        public override Tensor forward(Tensor a, Tensor b) => a * b;
    }

    private sealed class TwoInputSequential : Sequential<Tensor, Tensor, Tensor>
    {
        public TwoInputSequential() : base(("mix", new Mix()), ("last", Linear(4, 4))) { }

        public override Tensor forward(Tensor a, Tensor b)
        {
            Tensor? x = null;
            foreach (var child in children())
                x = child is Module<Tensor, Tensor, Tensor> two ? two.call(a.neg(), b) : ((Module<Tensor, Tensor>)child).call(x!);
            return x!;
        }
    }
}
