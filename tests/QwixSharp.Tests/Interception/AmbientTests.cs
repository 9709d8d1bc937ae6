using QwixSharp.Interception;
using QwixSharp.Tests.Interception.Models;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Interception;

/// <summary>Which interceptor sees an op, and what an interceptor may do.</summary>
public class AmbientTests
{
    [Fact]
    public void WithoutAnInterceptorRewrittenCodeJustRuns()
    {
        using var scope = NewDisposeScope();
        using var model = new Decoder(new DecoderSize(20, 8, 2, 1));
        var ids = randint(0, 20, [1, 4]);
        Assert.True(Intercepted.BitEqual(model.call(ids), Intercepted.Call(model, ids)));
    }

    [Fact]
    public void OpsThatAreNotWantedPassBy()
    {
        using var scope = NewDisposeScope();
        using var model = new Decoder(new DecoderSize(20, 8, 2, 1));
        var names = new HashSet<string>();
        var interceptor = new FunctionInterceptor(
            (in OpCall call) =>
            {
                names.Add(call.Op.Name);
                return call.Proceed();
            },
            op => op.Name == "torch.nn.functional.linear");

        Intercepted.Run(model, randint(0, 20, [1, 4]), interceptor);

        Assert.Equal(["torch.nn.functional.linear"], names);
    }

    [Fact]
    public void WhatAModulePutsIntoTheContextStaysThere()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("a", new Writer()), ("b", ReLU()));
        var interceptor = new RecordingInterceptor();

        Intercepted.Run(model, ones(2), interceptor);

        Assert.Equal(1, Writer.Written.Value);
        Assert.Equal(["a", "b"], interceptor.Calls.Select(c => c.Path));
    }

    private sealed class Writer() : Module<Tensor, Tensor>(nameof(Writer))
    {
        internal static readonly AsyncLocal<int> Written = new();

        public override Tensor forward(Tensor x)
        {
            Written.Value++;
            return x + 1;
        }
    }

    [Fact]
    public void DisposalRestoresWhatWasAmbient()
    {
        using var scope = NewDisposeScope();
        using var model = ReLU();
        var x = ones(2);
        var outer = new RecordingInterceptor();
        var inner = new RecordingInterceptor();

        using (Interceptor.Enter(model, outer))
        {
            Intercepted.Run(model, x, inner);
            Intercepted.Call(model, x);
        }

        Intercepted.Call(model, x);
        Assert.Single(inner.Calls);
        Assert.Single(outer.Calls);
    }

    [Fact]
    public void DisposingTwiceDoesNotDisturbALaterInterceptor()
    {
        using var scope = NewDisposeScope();
        using var model = ReLU();
        var first = Interceptor.Enter(model, new RecordingInterceptor());
        first.Dispose();
        var seen = new RecordingInterceptor();
        using var second = Interceptor.Enter(model, seen);

        first.Dispose();

        Intercepted.Call(model, ones(2));
        Assert.Single(seen.Calls);
    }

    [Fact]
    public void WhatAnInterceptorRunsIsNotIntercepted()
    {
        using var scope = NewDisposeScope();
        using var model = Linear(4, 4);
        using var other = Linear(4, 4);
        var seen = 0;
        var interceptor = new FunctionInterceptor((in OpCall call) =>
        {
            seen++;
            Intercepted.Call(other, (Tensor)call.Arguments[0]!);
            return call.Proceed();
        });

        Intercepted.Run(model, ones(1, 4), interceptor);

        Assert.Equal(1, seen);
    }

    [Fact]
    public void AnInterceptorMayRunAModelUnderAnotherInterceptor()
    {
        using var scope = NewDisposeScope();
        using var model = Linear(4, 4);
        var inner = new RecordingInterceptor();
        var seen = 0;
        var interceptor = new FunctionInterceptor((in OpCall call) =>
        {
            seen++;
            Intercepted.Run(model, (Tensor)call.Arguments[0]!, inner);
            return call.Proceed();
        });

        Intercepted.Run(model, ones(1, 4), interceptor);

        Assert.Equal(1, seen);
        Assert.Single(inner.Calls);
    }

    [Fact]
    public void AnAnswerTakesThePlaceOfTheOp()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("a", Linear(4, 4)), ("b", ReLU()));
        var y = Intercepted.Run(model, ones(1, 4), new FunctionInterceptor(
            (in OpCall call) => full([1, 4], -7f), op => op.Name == "torch.nn.functional.linear"));
        Assert.Equal(0f, y.sum().item<float>());
    }

    [Fact]
    public void AnAnswerOfTheWrongTypeIsAnErrorThatNamesTheOpAndTheModule()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("a", Linear(4, 4)));
        foreach (var answer in new object?[] { "text", 1 })
        {
            var error = Assert.Throws<InterceptionException>(() => Intercepted.Run(model, ones(1, 4), new FunctionInterceptor((in OpCall call) => answer)));
            Assert.Contains("torch.nn.functional.linear", error.Message);
            Assert.Contains("'a'", error.Message);
        }

        using var tuple = new TupleResult();
        Assert.Throws<InterceptionException>(() => Intercepted.Run(tuple, ones(2, 4), new FunctionInterceptor((in OpCall call) => null)));
    }

    [Fact]
    public void SpansAndDefaultArgumentsArriveAsValues()
    {
        using var scope = NewDisposeScope();
        using var model = new StackAllocation();
        object?[]? arguments = null;
        Intercepted.Run(model, ones(2, 4), new FunctionInterceptor(
            (in OpCall call) =>
            {
                arguments = call.Arguments;
                Assert.Same(model, call.Module);
                return call.Proceed();
            },
            op => op.Name == "Tensor.view"));
        Assert.Equal(2, arguments!.Length);
        Assert.IsType<Tensor>(arguments[0]);
        Assert.Equal(2L, Assert.IsType<long[]>(arguments[1])[0]);
    }

    [Fact]
    public void SequentialDisposesWhatItPassesOnButNotAnAlias()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("a", Linear(4, 4)), ("b", ReLU()), ("c", Linear(4, 4)));
        var x = ones(1, 4);
        var skipsRelu = new FunctionInterceptor((in OpCall call) => ((Tensor)call.Arguments[0]!).alias(), op => op.Name == "torch.nn.functional.relu");

        var y = Intercepted.Run(model, x, skipsRelu);

        Assert.False(y.IsInvalid);
        Assert.True(Intercepted.BitEqual(y, ((Linear)model[2]).call(((Linear)model[0]).call(x))));
    }

    [Fact]
    public void WhatAnInterceptorDetachesOutlivesTheModelsDisposeScope()
    {
        using var scope = NewDisposeScope();
        using var model = new Decoder(new DecoderSize(20, 8, 2, 1));
        Tensor? kept = null, lost = null;
        Intercepted.Run(model, randint(0, 20, [1, 4]), new FunctionInterceptor(
            (in OpCall call) =>
            {
                kept = ((Tensor)call.Arguments[0]! * 2f).DetachFromDisposeScope();
                lost = (Tensor)call.Arguments[0]! * 2f;
                return call.Proceed();
            },
            op => op.Name == "Tensor.matmul"));
        Assert.False(kept!.IsInvalid);
        Assert.True(lost!.IsInvalid);
        kept.Dispose();
    }

    [Fact]
    public void PassingThroughLeaksNoTensors()
    {
        using var model = new Decoder(new DecoderSize(20, 8, 2, 2));
        using var ids = randint(0, 20, [1, 4]);
        Run();
        var before = Live();
        for (var i = 0; i < 5; i++) Run();
        Assert.Equal(before, Live());

        void Run()
        {
            using var scope = NewDisposeScope();
            Intercepted.Run(model, ids, new RecordingInterceptor());
        }

        static long Live() => DisposeScopeManager.Statistics.ThreadTotalLiveCount;
    }

    [Fact]
    public void AnExceptionNamesTheModelsOwnMethods()
    {
        using var scope = NewDisposeScope();
        using var model = new ThrowsInHelper();
        var error = Assert.ThrowsAny<Exception>(() => Intercepted.Run(model, ones(2, 3), new RecordingInterceptor()));
        Assert.IsType<System.Runtime.InteropServices.ExternalException>(error);
        Assert.Contains("ThrowsInHelper.Help", error.StackTrace);
        Assert.Contains("ThrowsInHelper.forward", error.StackTrace);
        Assert.Contains("Linear.forward", error.StackTrace);
        Assert.Contains("functional.linear", error.StackTrace);
    }

    [Fact]
    public void AnExceptionOfTheInterceptorComesOutAsItIsAndLeavesNothingBehind()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("a", Linear(4, 4)));
        var thrown = new InvalidOperationException("stop");
        Assert.Same(thrown, Assert.Throws<InvalidOperationException>(() => Intercepted.Run(model, ones(1, 4), new FunctionInterceptor((in OpCall call) => throw thrown))));
        var seen = new RecordingInterceptor();
        Intercepted.Run(model, ones(1, 4), seen);
        Assert.Equal([("torch.nn.functional.linear", "a")], seen.Calls);
    }

    private sealed class ThrowsInHelper : Module<Tensor, Tensor>
    {
        private readonly Linear _linear = Linear(4, 4);

        public ThrowsInHelper() : base("throws") => RegisterComponents();

        public override Tensor forward(Tensor x) => Help(x);

        private Tensor Help(Tensor x) => _linear.call(x);
    }
}
