using QwixSharp.Providers;
using QwixSharp.Rules;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>Attention, gelu and layer norm of a quantized model, computed as one op each, agree with the single ops.</summary>
[Collection(RandomState.Name)]
public class FusedAttentionTests
{
    private const int Width = 64, Heads = 2, Tokens = 6;

    public enum Form
    {
        Plain,
        Biased,
        BiasFirst,
        Multiplied,
        Kept,
        NotTransposedBack,
        OtherAxis,
    }

    [Theory]
    [InlineData(Form.Plain)]
    [InlineData(Form.Biased)]
    [InlineData(Form.BiasFirst)]
    [InlineData(Form.Multiplied)]
    [InlineData(Form.Kept)]
    [InlineData(Form.NotTransposedBack)]
    [InlineData(Form.OtherAxis)]
    public void AgreesWithTheSingleOps(Form form)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(3);
        var model = new Block(form);
        model.eval();
        Tensor x = randn(2, Tokens, Width), bias = randn(2, 1, 1, Tokens);
        QuantizationRule[] rules = [new() { ModulePath = "query|key|value|inner|outer", WeightQType = "int8", ActQType = "int8" }];
        using var fused = Qwix.QuantizeModel(model, new PtqProvider(rules), x, bias);
        using var single = Qwix.QuantizeModel(model, new PtqProvider(rules) { FusesOps = false }, x, bias);
        for (int run = 0; run < 3; run++)
            Assert.True(allclose(single.call(x, bias), fused.call(x, bias), 1e-4, 2e-2));
    }

    [Fact]
    public void AQuantizedAttentionIsNotFused()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(4);
        var model = new Block(Form.Plain);
        model.eval();
        Tensor x = randn(2, Tokens, Width), bias = zeros(2, 1, 1, Tokens);
        QuantizationRule[] rules = [new() { ModulePath = ".*", WeightQType = "int8", ActQType = "int8" }];
        using var fused = Qwix.QuantizeModel(model, new PtqProvider(rules), x, bias);
        using var single = Qwix.QuantizeModel(model, new PtqProvider(rules) { FusesOps = false }, x, bias);
        fused.call(x, bias);
        Assert.True(allclose(single.call(x, bias), fused.call(x, bias), 1e-4, 2e-2));
    }

    private sealed class Block : Module<Tensor, Tensor, Tensor>
    {
        private readonly Linear query = Linear(Width, Width);
        private readonly Linear key = Linear(Width, Width);
        private readonly Linear value = Linear(Width, Width);
        private readonly Linear inner = Linear(Width, 3 * Width);
        private readonly Linear outer = Linear(3 * Width, Width);
        private readonly LayerNorm norm = LayerNorm(Width, eps: 1e-3);
        private readonly Form _form;

        internal Block(Form form) : base(nameof(Block))
        {
            _form = form;
            RegisterComponents();
        }

        public override Tensor forward(Tensor x, Tensor bias)
        {
            using var scope = NewDisposeScope();
            var (q, k, v) = (Split(query.call(x)), Split(key.call(x)), Split(value.call(x)));
            var products = matmul(q, k.transpose(-2, -1));
            var scores = _form switch
            {
                Form.Plain => products,
                Form.BiasFirst => bias + products / 5.6,
                Form.Multiplied => products * 0.17 + bias,
                _ => products / 5.6 + bias,
            };
            var attended = matmul(scores.softmax(_form == Form.OtherAxis ? 2 : -1), v);
            var together = _form == Form.NotTransposedBack ? attended.reshape(2, Tokens, Width) : attended.transpose(1, 2).flatten(2);
            var hidden = inner.call(norm.call(x + together));
            var y = outer.call(functional.gelu(hidden));
            if (_form == Form.Kept)
                y = y + scores.sum() + hidden.mean() + attended.max();
            return functional.layer_norm(y, [Width]).MoveToOuterDisposeScope();
        }

        private static Tensor Split(Tensor x) => x.view(x.size(0), x.size(1), Heads, -1).transpose(1, 2);
    }
}
