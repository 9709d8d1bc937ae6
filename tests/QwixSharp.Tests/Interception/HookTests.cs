using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Interception;

/// <summary>Hooks run as in the plain model, and their ops are seen.</summary>
public class HookTests
{
    [Fact]
    public void HooksOfSubmodulesAndOfTheRootRun()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("a", Linear(4, 4)), ("b", ReLU()));
        int before = 0, after = 0, plainBefore = 0, plainAfter = 0, root = 0;
        var linear = (Linear)model[0];
        linear.register_forward_pre_hook((_, input) =>
        {
            before++;
            return input * 2f;
        });
        linear.register_forward_hook((_, _, output) =>
        {
            after++;
            return output + 1f;
        });
        linear.register_forward_pre_hook(_ => plainBefore++);
        linear.register_forward_hook(_ => plainAfter++);
        model.register_forward_hook((_, _, output) =>
        {
            root++;
            return output - 1f;
        });
        var x = randn(2, 4);
        var plain = model.call(x);
        var seen = new RecordingInterceptor();

        var intercepted = Intercepted.Run(model, x, seen);

        Assert.True(Intercepted.BitEqual(plain, intercepted));
        Assert.Equal([2, 2, 2, 2, 2], [before, after, plainBefore, plainAfter, root]);
        Assert.Equal(
            [("Tensor.op_Multiply", "a"), ("torch.nn.functional.linear", "a"), ("Tensor.op_Addition", "a"), ("torch.nn.functional.relu", "b"), ("Tensor.op_Subtraction", "")],
            seen.Calls);
    }

    [Fact]
    public void ADirectForwardRunsNoHooks()
    {
        using var scope = NewDisposeScope();
        using var model = new CallsForward();
        var hooks = 0;
        model.Inner.register_forward_hook((_, _, output) =>
        {
            hooks++;
            return output;
        });
        var seen = new RecordingInterceptor();

        Intercepted.Run(model, ones(1, 4), seen);

        Assert.Equal(0, hooks);
        Assert.Equal([("torch.nn.functional.linear", "Inner")], seen.Calls);
    }

    private sealed class CallsForward : Module<Tensor, Tensor>
    {
        public readonly Linear Inner = Linear(4, 4);

        public CallsForward() : base("direct") => RegisterComponents();

        public override Tensor forward(Tensor x) => Inner.forward(x);
    }
}
