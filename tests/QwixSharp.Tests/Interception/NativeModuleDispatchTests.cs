using System.Reflection;
using QwixSharp.Interception;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Interception;

/// <summary>Modules that run in native code are one op each, or their managed equivalent where there is one.</summary>
public class NativeModuleDispatchTests
{
    private static readonly MethodRewriter NoTable = new(_ => null);
    private static readonly MethodRewriter WithTable = new(FakeTable);

    [Fact]
    public void WithoutAnEquivalentTheModuleIsOneOp()
    {
        using var scope = NewDisposeScope();
        using var model = new UsesNatives();
        var x = randn(1, 3, 4);
        var seen = new RecordingInterceptor();

        Assert.True(Intercepted.BitEqual(model.call(x), Run(NoTable, model, x, seen)));

        Assert.Equal([("Modules.GRU.forward", "_gru"), ("Modules.GRU.forward", "_gru"), ("Modules.TransformerEncoderLayer.call", "_layer"), ("Modules.TransformerEncoderLayer.forward", "_layer")], seen.Calls);
    }

    [Fact]
    public void AnEquivalentRunsInItsPlaceOpByOpInTheModulesScope()
    {
        using var scope = NewDisposeScope();
        using var model = new UsesNatives();
        var hooks = 0;
        model.Gru.register_forward_hook((_, _, _, result) =>
        {
            hooks++;
            return result;
        });
        var seen = new RecordingInterceptor();

        Run(WithTable, model, randn(1, 3, 4), seen);

        Assert.Equal(
            [("Tensor.op_Multiply", "_gru"), ("Tensor.op_Addition", "_gru"), ("Tensor.op_Multiply", "_gru"), ("Tensor.op_Addition", "_gru"), ("torch.tanh", "_layer"), ("Modules.TransformerEncoderLayer.forward", "_layer")],
            seen.Calls);
        Assert.Equal(1, hooks);
    }

    [Fact]
    public void TheEquivalentStandsForARootToo()
    {
        using var scope = NewDisposeScope();
        using var gru = GRU(4, 4);
        var x = randn(3, 1, 4);
        var call = Interceptor.RewriteWith<Func<object, Tensor, Tensor?, (Tensor, Tensor)>>(WithTable, typeof(Module<Tensor, Tensor, (Tensor, Tensor)>).GetMethod("call")!);
        var seen = new RecordingInterceptor();
        using (Interceptor.Enter(gru, seen))
            Assert.True(Intercepted.BitEqual((x * 2f) + 1f, call(gru, x, null).Item1));
        Assert.Equal(["", ""], seen.Calls.Select(c => c.Path));
    }

    [Fact]
    public void TheEquivalentRunsWithoutAnInterceptor()
    {
        using var scope = NewDisposeScope();
        using var gru = GRU(4, 4);
        var x = randn(3, 1, 4);
        var call = Interceptor.RewriteWith<Func<object, Tensor, Tensor?, (Tensor, Tensor)>>(WithTable, typeof(GRU).GetMethod("forward")!);
        Assert.True(Intercepted.BitEqual((x * 2f) + 1f, call(gru, x, null).Item1));
    }

    [Fact]
    public void AnEquivalentOfAnotherSignatureIsRefused()
    {
        using var scope = NewDisposeScope();
        using var model = Embedding(4, 4);
        var rewriter = new MethodRewriter(m => m.DeclaringType == typeof(Embedding) ? typeof(NativeModuleDispatchTests).GetMethod(nameof(LikeLayer), BindingFlags.NonPublic | BindingFlags.Static) : null);
        var error = Assert.Throws<InterceptionException>(() => Run(rewriter, model, zeros(1, ScalarType.Int64), new RecordingInterceptor()));
        Assert.Contains("Embedding.forward", error.Message);
    }

    private static MethodInfo? FakeTable(MethodInfo method)
    {
        var name = method.DeclaringType == typeof(GRU) && method.Name == "forward" ? nameof(LikeGru)
            : method.DeclaringType == typeof(TransformerEncoderLayer) && method.GetParameters().Length == 3 ? nameof(LikeLayer)
            : null;
        return name is null ? null : typeof(NativeModuleDispatchTests).GetMethod(name, BindingFlags.NonPublic | BindingFlags.Static);
    }

    private static (Tensor, Tensor) LikeGru(GRU gru, Tensor input, Tensor? state) => ((input * 2f) + 1f, state ?? input);

    private static Tensor LikeLayer(TransformerEncoderLayer layer, Tensor source, Tensor mask, Tensor padding) => tanh(source);

    private static Tensor Run(MethodRewriter rewriter, Module<Tensor, Tensor> model, Tensor x, IOpInterceptor interceptor)
    {
        var call = Interceptor.RewriteWith<Func<object, Tensor, Tensor>>(rewriter, typeof(Module<Tensor, Tensor>).GetMethod("call")!);
        using var _ = Interceptor.Enter(model, interceptor);
        return call(model, x);
    }

    private sealed class UsesNatives : Module<Tensor, Tensor>
    {
        private readonly GRU _gru = GRU(4, 4, batchFirst: true);
        private readonly TransformerEncoderLayer _layer = TransformerEncoderLayer(4, 1, 8, 0.0);

        public UsesNatives() : base("natives") => RegisterComponents();

        public GRU Gru => _gru;

        public override Tensor forward(Tensor x)
        {
            var (y, _) = _gru.call(x);
            (y, _) = _gru.forward(y, null!);
            return _layer.call(_layer.call(y, null!, null!));
        }
    }
}
