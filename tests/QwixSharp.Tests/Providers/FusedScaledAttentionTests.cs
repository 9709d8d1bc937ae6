using QwixSharp.Providers;
using QwixSharp.Rules;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>scaled_dot_product_attention of a quantized model, computed in one pass over heads that are not repeated, agrees with the single ops.</summary>
[Collection(RandomState.Name)]
public class FusedScaledAttentionTests
{
    private const int HeadSize = 16, KeyHeads = 2, Group = 3, Heads = KeyHeads * Group;

    public enum Form
    {
        Grouped,
        AllHeads,
        OneHead,
        Causal,
        Masked,
        Dropout,
        OtherAxis,
        KeptRepeated,
        Viewed,
        NotTransposedBack,
    }

    public static TheoryData<Form, int, int> Cases => [.. from form in Enum.GetValues<Form>() from tokens in (int[])[1, 7, 100] from batch in (int[])[1, 2] select (form, tokens, batch)];

    [Theory]
    [MemberData(nameof(Cases))]
    public void AgreesWithTheSingleOps(Form form, int tokens, int batch)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(3);
        var model = new Block(form);
        model.eval();
        var x = randn(batch, tokens, Heads * HeadSize);
        QuantizationRule[] rules = [new() { ModulePath = "query|key|value|outer", WeightQType = "int8" }];
        using var fused = Qwix.QuantizeModel(model, new PtqProvider(rules), x);
        using var single = Qwix.QuantizeModel(model, new PtqProvider(rules) { FusesOps = false }, x);
        for (int run = 0; run < 3; run++)
            Assert.True(allclose(single.call(x), fused.call(x), 1e-5, 1e-5));
    }

    [Fact]
    public void QuantizedProductsAreQuantizedAsEver()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(4);
        var model = new Block(Form.Grouped);
        model.eval();
        var x = randn(2, 9, Heads * HeadSize);
        QuantizationRule[] weights = [new() { ModulePath = "query|key|value|outer", WeightQType = "int8" }];
        QuantizationRule[] rules = [.. weights, new() { ModulePath = "", WeightQType = "int4", ActQType = "int4" }];
        using var plain = Qwix.QuantizeModel(model, new PtqProvider(weights), x);
        using var fused = Qwix.QuantizeModel(model, new PtqProvider(rules), x);
        using var single = Qwix.QuantizeModel(model, new PtqProvider(rules) { FusesOps = false }, x);

        Assert.True(allclose(single.call(x), fused.call(x), 1e-4, 1e-4));
        Assert.False(allclose(plain.call(x), fused.call(x), 1e-3, 1e-3));
    }

    [Fact]
    public void ACacheThatIsWrittenAfterwardsDoesNotChangeWhatWasAttended()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(5);
        var model = new Caching();
        model.eval();
        var x = randn(1, 4, Heads * HeadSize);
        QuantizationRule[] rules = [new() { ModulePath = "query|outer", WeightQType = "int8" }];
        using var fused = Qwix.QuantizeModel(model, new PtqProvider(rules), x);
        using var single = Qwix.QuantizeModel(model, new PtqProvider(rules) { FusesOps = false }, x);
        for (int run = 0; run < 3; run++)
        {
            model.Cache.zero_();
            var expected = single.call(x);
            model.Cache.zero_();
            Assert.True(allclose(expected, fused.call(x), 1e-5, 1e-5));
        }
    }

    private static Tensor Split(Tensor x) => x.view(x.size(0), x.size(1), -1, HeadSize).transpose(1, 2);

    private sealed class Block : Module<Tensor, Tensor>
    {
        private readonly Linear query = Linear(Heads * HeadSize, Heads * HeadSize);
        private readonly Linear key;
        private readonly Linear value;
        private readonly Linear outer = Linear(Heads * HeadSize, Heads * HeadSize);
        private readonly Form _form;

        internal Block(Form form) : base(nameof(Block))
        {
            _form = form;
            int heads = form switch { Form.AllHeads => Heads, Form.OneHead => 1, _ => KeyHeads };
            (key, value) = (Linear(Heads * HeadSize, heads * HeadSize), Linear(Heads * HeadSize, heads * HeadSize));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            using var scope = NewDisposeScope();
            var (q, k, v) = (Split(query.call(x)), Split(key.call(x)), Split(value.call(x)));
            var tokens = x.size(1);
            if (_form == Form.OneHead)
                (k, v) = (k.repeat_interleave(Heads, dim: 1), v.repeat_interleave(Heads, dim: -3));
            else if (_form == Form.OtherAxis)
                (q, k, v) = (q.repeat_interleave(2, dim: 2), Wide(k), Wide(v));
            else if (_form != Form.AllHeads)
                (k, v) = (k.repeat_interleave(Group, dim: 1), TorchSharp.torch.repeat_interleave(v, Group, 1));
            var mask = _form == Form.Masked ? ones(tokens, tokens, dtype: @bool).tril() : null;
            var attended = functional.scaled_dot_product_attention(q, k, v, mask, _form == Form.Dropout ? 1e-30 : 0, _form == Form.Causal);
            if (_form == Form.OtherAxis)
                attended = attended.narrow(2, 0, tokens);
            var together = _form switch
            {
                // No copy is needed where queries are parts of tokens, so that this is allowed.
                Form.Viewed => attended.transpose(1, 2).view(x.size(0), tokens, -1),
                Form.NotTransposedBack => attended.reshape(x.size(0), tokens, -1),
                _ => attended.transpose(1, 2).flatten(2),
            };
            var y = outer.call(together);
            if (_form == Form.KeptRepeated)
                y = y + k.sum() + attended.max();
            return y.MoveToOuterDisposeScope();
        }

        private static Tensor Wide(Tensor x) => x.repeat_interleave(2, dim: 2).repeat_interleave(Group, dim: 1);
    }

    /// <summary>Attends over a cache, writes into it, and attends again.</summary>
    private sealed class Caching : Module<Tensor, Tensor>
    {
        private readonly Linear query = Linear(Heads * HeadSize, Heads * HeadSize);
        private readonly Linear outer = Linear(Heads * HeadSize, Heads * HeadSize);

        internal Caching() : base(nameof(Caching)) => RegisterComponents();

        internal Tensor Cache { get; } = zeros(1, KeyHeads, 20, HeadSize);

        public override Tensor forward(Tensor x)
        {
            using var scope = NewDisposeScope();
            var q = Split(query.call(x));
            var past = Cache.narrow(2, 0, 12).repeat_interleave(Group, dim: 1);
            var first = functional.scaled_dot_product_attention(q, past, past);
            Cache.narrow(2, 3, 4).copy_(q.narrow(1, 0, KeyHeads));
            past = Cache.narrow(2, 0, 12).repeat_interleave(Group, dim: 1);
            var second = functional.scaled_dot_product_attention(q, past, past);
            return outer.call((first - second).transpose(1, 2).flatten(2)).MoveToOuterDisposeScope();
        }
    }
}
