using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception.Deferred;

/// <summary>Every construct of the language gives the same where ops are deferred.</summary>
public class DeferredConstructTests
{
    public static TheoryData<string> Names => ConstructTests.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public void TheResultIsTheSame(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        random.manual_seed(0);
        using var model = ConstructTests.Make(name);
        model.eval();
        var x = randn(2, 4);
        var plain = model.call(x.clone());

        for (var run = 0; run < 2; run++)
            Assert.True(Intercepted.BitEqual(plain, Intercepted.Run(model, x.clone(), new DeferringInterceptor())));
    }

    [Fact]
    public void ARecurrentModuleGivesTheSame()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = new Recurrent();
        var x = randn(5, 2, 4);
        var plain = Intercepted.Run(model, x, new FunctionInterceptor((in call) => call.Proceed()));

        for (var run = 0; run < 2; run++)
            Assert.True(Intercepted.BitEqual(plain, Intercepted.Run(model, x, new DeferringInterceptor())));
    }

    private sealed class Recurrent : nn.Module<Tensor, Tensor>
    {
        private readonly TorchSharp.Modules.LSTM lstm = nn.LSTM(4, 6, 2);

        internal Recurrent() : base(nameof(Recurrent)) => RegisterComponents();

        public override Tensor forward(Tensor x) => lstm.call(x, null).Item1;
    }
}
