using System.Linq.Expressions;
using System.Reflection.Emit;
using QwixSharp.Interception;
using QwixSharp.Tests.Interception.Models;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Interception;

/// <summary>What cannot be seen is found and told, and what can be seen is not.</summary>
public class CoverageReportTests
{
    [Fact]
    public void AModelThatCanBeSeenHasNoGaps()
    {
        using var scope = NewDisposeScope();
        using var resnet = torchvision.models.resnet18();
        var report = Inspect(resnet);
        Assert.True(report.IsComplete, report.ToString());
        Assert.True(report.MethodCount > 20);
        report.ThrowIfIncomplete();
    }

    [Fact]
    public void NoConstructThatIsSeenIsReported()
    {
        using var scope = NewDisposeScope();
        random.manual_seed(0);
        foreach (var type in typeof(ConstructModel).Assembly.GetTypes().Where(t => t.IsSubclassOf(typeof(ConstructModel)) && !t.IsAbstract && !t.IsGenericType))
        {
            using var model = (ConstructModel)Activator.CreateInstance(type)!;
            Assert.True(Inspect(model).IsComplete, $"{type.Name}: {Inspect(model)}");
        }
    }

    [Fact]
    public void RunningAModelAddsNoGaps()
    {
        using var scope = NewDisposeScope();
        using var model = new KeepsItsDelegate();
        Intercepted.Run(model, ones(2), new RecordingInterceptor());
        Assert.True(Inspect(model).IsComplete, Inspect(model).ToString());
    }

    [Fact]
    public void AsyncMethods() => Expect(new UsesAsync(), CoverageGapKind.AsyncMethod, nameof(UsesAsync) + ".Later");

    [Fact]
    public void FunctionPointers() => Expect(new UsesFunctionPointer(), CoverageGapKind.FunctionPointer, nameof(UsesFunctionPointer) + ".forward");

    [Fact]
    public void DynamicExpressions() => Expect(new UsesDynamic(), CoverageGapKind.DynamicCallSite, nameof(UsesDynamic) + ".forward");

    [Fact]
    public void ExpressionsCompiledInForward() => Expect(new CompilesExpression(), CoverageGapKind.CompiledExpression, nameof(CompilesExpression) + ".forward");

    [Fact]
    public void ExpressionsCompiledBefore() => Expect(new HoldsCompiledExpression(), CoverageGapKind.CompiledExpression, nameof(HoldsCompiledExpression) + ".Compiled");

    [Fact]
    public void DynamicMethods() => Expect(new HoldsDynamicMethod(), CoverageGapKind.DynamicMethod, nameof(HoldsDynamicMethod) + "._emitted");

    [Fact]
    public void Reflection() => Expect(new UsesReflection(), CoverageGapKind.Reflection, nameof(UsesReflection) + ".forward");

    [Fact]
    public void AutogradFunctions() => Expect(new UsesAutogradFunction(), CoverageGapKind.AutogradFunction, nameof(UsesAutogradFunction) + ".forward");

    [Fact]
    public void OpsWithOutParameters() => Expect(new UsesOutParameters(), CoverageGapKind.UnseenOp, nameof(UsesOutParameters) + ".forward");

    [Fact]
    public void NativeModulesWithoutAnEquivalent()
    {
        using var scope = NewDisposeScope();
        random.manual_seed(0);
        using var model = new HoldsNative();
        var inspector = new QwixSharp.Interception.Coverage.CoverageInspector(new MethodRewriter(_ => null));
        var gap = Assert.Single(inspector.Inspect(model, typeof(HoldsNative).GetMethod("forward")!).Gaps);
        Assert.Equal((CoverageGapKind.NativeModule, "TorchSharp.Modules.GRU.forward"), (gap.Kind, gap.Method));
    }

    [Fact]
    public void GapsOfSubmodulesHooksAndHelpersAreFound()
    {
        using var scope = NewDisposeScope();
        random.manual_seed(0);
        using var model = Sequential(("a", new UsesAsync()), ("b", ReLU()));
        ((ReLU)model[1]).register_forward_hook((_, _, output) => ((dynamic)output) + 1f);

        var report = Inspect(model);

        Assert.Equal([CoverageGapKind.AsyncMethod, CoverageGapKind.DynamicCallSite], report.Gaps.Select(gap => gap.Kind).Order());
    }

    [Fact]
    public void StrictModeThrowsAndListsTheGaps()
    {
        using var scope = NewDisposeScope();
        random.manual_seed(0);
        using var model = new UsesAsync();
        var error = Assert.Throws<InterceptionException>(() => Inspect(model).ThrowIfIncomplete());
        Assert.Contains("UsesAsync.Later", error.Message);
        Assert.Contains("synchronous", error.Message);
        Assert.False(error.Report!.IsComplete);
        Assert.IsAssignableFrom<QwixException>(error);
    }

    private static CoverageReport Inspect(Module<Tensor, Tensor> model) => Interceptor.Inspect(model, typeof(Module<Tensor, Tensor>).GetMethod("call")!);

    /// <summary>The gap is told, once, and the model runs the same all the same.</summary>
    private static void Expect(Module<Tensor, Tensor> model, CoverageGapKind kind, string place)
    {
        using var scope = NewDisposeScope();
        using var _ = model;
        var gap = Assert.Single(Inspect(model).Gaps);
        Assert.Equal(kind, gap.Kind);
        Assert.EndsWith(place, gap.Method.Replace('+', '.'));
        Assert.NotEmpty(gap.Remedy);
        var x = ones(2, 2);
        Assert.True(Intercepted.BitEqual(model.call(x), Intercepted.Run(model, x, new RecordingInterceptor())));
    }

    public abstract class Model : Module<Tensor, Tensor>
    {
        protected Model() : base("model") => RegisterComponents();
    }

    private sealed class KeepsItsDelegate : Model
    {
        private Func<Tensor, Tensor>? _kept;

        public override Tensor forward(Tensor x)
        {
            _kept ??= t => t + x;
            return _kept(x);
        }
    }

    private sealed class UsesAsync : Model
    {
        public override Tensor forward(Tensor x) => Later(x).GetAwaiter().GetResult();

        private static async Task<Tensor> Later(Tensor x)
        {
            await Task.Yield();
            return (x + x).DetachFromDisposeScope();
        }
    }

    private sealed class UsesFunctionPointer : Model
    {
        public override unsafe Tensor forward(Tensor x)
        {
            delegate*<Tensor, Tensor> square = &Square;
            return square(x);
        }

        private static Tensor Square(Tensor x) => x * x;
    }

    private sealed class UsesDynamic : Model
    {
        public override Tensor forward(Tensor x)
        {
            dynamic value = x;
            return (Tensor)(value + value);
        }
    }

    private sealed class CompilesExpression : Model
    {
        public override Tensor forward(Tensor x)
        {
            Expression<Func<Tensor, Tensor>> twice = t => t + t;
            return twice.Compile()(x);
        }
    }

    private sealed class HoldsCompiledExpression : Model
    {
        private static readonly Func<Tensor, Tensor> Compiled = ((Expression<Func<Tensor, Tensor>>)(t => t + t)).Compile();

        public override Tensor forward(Tensor x) => Compiled(x);
    }

    private sealed class HoldsDynamicMethod : Model
    {
        private readonly Func<Tensor, Tensor> _emitted = Emit();

        public override Tensor forward(Tensor x) => _emitted(x);

        private static Func<Tensor, Tensor> Emit()
        {
            var method = new DynamicMethod("emitted", typeof(Tensor), [typeof(Tensor)]);
            var il = method.GetILGenerator();
            il.Emit(OpCodes.Ldarg_0);
            il.Emit(OpCodes.Call, typeof(torch).GetMethod("tanh", [typeof(Tensor)])!);
            il.Emit(OpCodes.Ret);
            return method.CreateDelegate<Func<Tensor, Tensor>>();
        }
    }

    private sealed class UsesReflection : Model
    {
        public override Tensor forward(Tensor x) => (Tensor)typeof(torch).GetMethod("tanh", [typeof(Tensor)])!.Invoke(null, [x])!;
    }

    private sealed class Double : torch.autograd.SingleTensorFunction<Double>
    {
        public override string Name => nameof(Double);

        public override Tensor forward(torch.autograd.AutogradContext ctx, params object[] vars) => (Tensor)vars[0] * 2f;

        public override List<Tensor> backward(torch.autograd.AutogradContext ctx, Tensor grad_output) => [grad_output * 2f];
    }

    private sealed class UsesAutogradFunction : Model
    {
        public override Tensor forward(Tensor x) => Double.apply(x);
    }

    private sealed class UsesOutParameters : Model
    {
        public override Tensor forward(Tensor x)
        {
            var results = (empty(2), empty(3));
            return histogram(x, 2, out results).hist;
        }
    }

    private sealed class HoldsNative : Model
    {
        private readonly GRU _gru = GRU(4, 4);

        public override Tensor forward(Tensor x) => functional.one_hot(_gru.call(x).Item1.argmax(-1));
    }
}
