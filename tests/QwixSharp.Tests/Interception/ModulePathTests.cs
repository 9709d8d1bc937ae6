using QwixSharp.Interception;
using QwixSharp.Tests.Interception.Models;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Interception;

/// <summary>Ops carry the path of the module whose code calls them.</summary>
public class ModulePathTests
{
    [Fact]
    public void DecoderHasTheSameOutputGradientsAndPaths()
    {
        using var scope = NewDisposeScope();
        random.manual_seed(0);
        using var model = new Decoder(new DecoderSize(50, 16, 2, 2));
        var ids = randint(0, 50, [2, 6]);
        var seen = new RecordingInterceptor();

        var plain = Gradients(model, () => model.call(ids));
        var intercepted = Gradients(model, () => Intercepted.Run(model, ids, seen));

        Assert.All(plain, entry => Assert.True(Intercepted.BitEqual(entry.Value, intercepted[entry.Key]), entry.Key));
        var linears = model.named_modules().Where(m => m.module is Linear).Select(m => m.name).Order();
        Assert.Equal(linears, seen.PathsOf("linear").Order());
        Assert.Equal(["_blocks.0._attention", "_blocks.1._attention"], seen.PathsOf("matmul"));
        Assert.Equal(["_blocks.0", "_blocks.1"], seen.PathsOf("silu"));
        Assert.Equal([""], seen.PathsOf("triu"));
        Assert.Equal(["_blocks.0._norm1", "_blocks.0._norm2", "_blocks.1._norm1", "_blocks.1._norm2", "_norms.final"], seen.PathsOf("layer_norm"));
    }

    [Fact]
    public void TheRootHasTheEmptyPathAndASharedModuleItsFirstName()
    {
        using var scope = NewDisposeScope();
        var shared = Linear(4, 4);
        using var model = Sequential(("a", shared), ("b", ReLU()), ("c", shared));
        var seen = new RecordingInterceptor();

        Intercepted.Run(model, ones(1, 4), seen);

        Assert.Equal(["a", "a"], seen.PathsOf("linear"));
        Assert.Equal(["b"], seen.PathsOf("relu"));
        var root = new RecordingInterceptor();
        using var linear = Linear(4, 4);
        Intercepted.Run(linear, ones(1, 4), root);
        Assert.Equal([("torch.nn.functional.linear", "")], root.Calls);
    }

    [Fact]
    public void AModuleOutsideTheTreeIsNamedAfterItsCaller()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("inner", new HidesModule()));
        var seen = new RecordingInterceptor();

        Intercepted.Run(model, ones(1, 4), seen);

        Assert.Equal([("torch.nn.functional.linear", "inner.?Linear"), ("torch.nn.functional.relu", "inner")], seen.Calls);
        var alone = new RecordingInterceptor();
        using var root = new HidesModule();
        Intercepted.Run(root, ones(1, 4), alone);
        Assert.Equal(["?Linear"], alone.PathsOf("linear"));
    }

    [Fact]
    public void AModuleThatIsReplacedBetweenRunsHasItsPath()
    {
        using var scope = NewDisposeScope();
        using var first = Sequential(("a", Linear(4, 4)));
        first.append("b", Linear(4, 4));
        var seen = new RecordingInterceptor();
        Intercepted.Run(first, ones(1, 4), seen);
        first.append("late", Linear(4, 4));
        var again = new RecordingInterceptor();

        Intercepted.Run(first, ones(1, 4), again);

        Assert.Equal(["a", "b"], seen.PathsOf("linear"));
        Assert.Equal(["a", "b", "late"], again.PathsOf("linear"));
    }

    [Fact]
    public void OtherMethodsOfAModuleRunInItsScope()
    {
        using var scope = NewDisposeScope();
        using var model = new AutoEncoder();
        var x = ones(2, 4);
        var encode = Interceptor.Rewrite<Func<object, Tensor, Tensor>>(typeof(AutoEncoder).GetMethod(nameof(AutoEncoder.Encode))!);
        var seen = new RecordingInterceptor();

        var plain = model.call(x);
        var y = Intercepted.Run(model, x, seen);

        Assert.True(Intercepted.BitEqual(plain, y));
        Assert.Equal([("torch.nn.functional.linear", "_half._down"), ("Tensor.tanh", "_half"), ("torch.nn.functional.linear", "_up")], seen.Calls);
        var alone = new RecordingInterceptor();
        using (Interceptor.Enter(model, alone)) Assert.True(Intercepted.BitEqual(model.Encode(x), encode(model, x)));
        Assert.Equal(["_half._down"], alone.PathsOf("linear"));
    }

    [Fact]
    public void ThePathIsRightAgainAfterAnException()
    {
        using var scope = NewDisposeScope();
        using var model = new CatchesFromChild();
        var seen = new RecordingInterceptor();

        Intercepted.Run(model, ones(2, 3), seen);

        Assert.Equal([("torch.nn.functional.linear", "_child"), ("Tensor.op_Addition", "")], seen.Calls);
    }

    private static Dictionary<string, Tensor> Gradients(Module<Tensor, Tensor> model, Func<Tensor> run)
    {
        model.zero_grad();
        var y = run();
        y.square().mean().backward();
        var gradients = model.named_parameters().ToDictionary(p => p.name, p => p.parameter.grad!.clone());
        gradients["output"] = y.detach();
        return gradients;
    }

    private sealed class HidesModule() : Module<Tensor, Tensor>("hides")
    {
        private readonly Func<Module<Tensor, Tensor>> _hidden = Hide(Linear(4, 4));

        public override Tensor forward(Tensor x) => functional.relu(_hidden().call(x));

        private static Func<Module<Tensor, Tensor>> Hide(Module<Tensor, Tensor> module) => () => module;
    }

    private sealed class Half : Module<Tensor, Tensor>
    {
        private readonly Linear _down = Linear(4, 2);

        public Half() : base("half") => RegisterComponents();

        public Tensor Reduce(Tensor x) => _down.call(x).tanh();

        public override Tensor forward(Tensor x) => x;
    }

    private sealed class AutoEncoder : Module<Tensor, Tensor>
    {
        private readonly Half _half = new();
        private readonly Linear _up = Linear(2, 4);

        public AutoEncoder() : base("auto") => RegisterComponents();

        public Tensor Encode(Tensor x) => _half.Reduce(x);

        public override Tensor forward(Tensor x) => _up.call(Encode(x));
    }

    private sealed class CatchesFromChild : Module<Tensor, Tensor>
    {
        private readonly Linear _child = Linear(4, 4);

        public CatchesFromChild() : base("catches") => RegisterComponents();

        public override Tensor forward(Tensor x)
        {
            try
            {
                return _child.call(x);
            }
            catch (System.Runtime.InteropServices.ExternalException)
            {
                return x + x;
            }
        }
    }
}
