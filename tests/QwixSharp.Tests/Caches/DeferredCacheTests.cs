using QwixSharp.Caches;
using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Caches;

/// <summary>A cache in a quantized model, whose ops wait, gives what it gives where every op is computed at once.</summary>
[Collection(RandomState.Name)]
public class DeferredCacheTests
{
    private const int Heads = 2, Group = 3, HeadSize = 16;

    private static readonly Dictionary<string, Func<Model, Tensor, Tensor>> Programs = new()
    {
        ["views of layers"] = (m, x) => { var k = m.Key(x); m.Cache.Append(k, m.Key(x)); return m.Cache.Attend(m.Query(x)); },
        ["sums"] = (m, x) => { m.Cache.Append(m.Key(x) * 2, m.Key(x) + 1); return m.Cache.Attend(m.Query(x) * 3) + 1; },
        ["one tensor twice"] = (m, x) => { var k = m.Key(x) * 2; m.Cache.Append(k, k); return m.Cache.Attend(m.Query(x)) * 2; },
        ["features with gaps"] = (m, x) => { var k = (m.Key(x) * 2).transpose(2, 3).contiguous().transpose(2, 3); m.Cache.Append(k, m.Key(x).transpose(2, 3).reshape(k.shape[0], Heads, HeadSize, -1).transpose(2, 3)); return m.Cache.Attend(m.Query(x)); },
        ["with values and without"] = (m, x) => { m.Cache.Append(m.Key(x).exp(), m.Key(x) * 2); return m.Cache.Attend(m.Query(x).exp()); },
        ["kept by the model"] = (m, x) => { m.Cache.Append(m.Key(x), m.Key(x) * 2); m.Kept = m.Cache.Attend(m.Query(x) * 2); m.Cache.Append(m.Key(x), m.Key(x)); return m.Kept - m.Cache.Attend(m.Query(x)); },
        ["out of a scope"] = (m, x) => { m.Cache.Append(m.Key(x), m.Key(x) * 2); using var scope = NewDisposeScope(); var q = m.Query(x) * 2; return m.Cache.Attend(q).MoveToOuterDisposeScope(); },
        ["left in a scope"] = (m, x) => { m.Cache.Append(m.Key(x), m.Key(x) * 2); using (NewDisposeScope()) m.Cache.Attend(m.Query(x) * 2); return m.Cache.Attend(m.Query(x)); },
        ["disposed"] = (m, x) => { using (var k = m.Key(x) * 2) m.Cache.Append(k, m.Key(x)); using var y = m.Cache.Attend(m.Query(x) * 1); return y * 2; },
        ["written over"] = (m, x) => { m.Cache.Append(m.Key(x), m.Key(x) * 2); var y = m.Cache.Attend(m.Query(x) * 1); y.add_(1); x.zero_(); return y; },
        ["what it is computed of changes"] = (m, x) => { m.Cache.Append(m.Key(x) * 2, m.Key(x)); var q = m.Query(x) * 2; x.zero_(); return m.Cache.Attend(q) + m.Query(x); },
        ["by a delegate"] = (m, x) => { Action<Tensor, Tensor> append = m.Cache.Append; append(m.Key(x) * 2, m.Key(x)); Func<Tensor, double?, Tensor> attend = m.Cache.Attend; return attend(m.Query(x) * 2, 0.5); },
        ["refused"] = (m, x) => { var k = m.Key(x) * 2; try { m.Cache.Append(k, m.Query(x) * 2); } catch (ArgumentException error) { k = k * error.Message.Length; } m.Cache.Append(k, k); return m.Cache.Attend(m.Query(x)); },
    };

    public static TheoryData<string, int, string> Cases => [.. from name in Programs.Keys from tokens in (int[])[1, 5] from qtype in (string[])["int8", "int4"] select (name, tokens, qtype)];

    [Theory]
    [MemberData(nameof(Cases))]
    public void ItGivesTheSame(string name, int tokens, string qtype)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(5);
        using var model = new Model(Programs[name], qtype);
        var x = randn(2, tokens, 32);
        QuantizationRule[] rules = [new() { ModulePath = ".*", WeightQType = "int8" }];
        using var waiting = Qwix.QuantizeModel(model, new PtqProvider(rules), x.clone());
        using var single = Qwix.QuantizeModel(model, new PtqProvider(rules) { FusesOps = false }, x.clone());
        for (int run = 0; run < 3; run++)
        {
            model.Cache.Trim(0);
            var expected = single.call(x.clone());
            var codes = model.Cache.Keys().Dequantize();
            model.Cache.Trim(0);
            Assert.True(allclose(expected, waiting.call(x.clone()), 1e-5, 1e-5));
            Assert.True(allclose(codes, model.Cache.Keys().Dequantize(), 1e-5, 1e-5));
        }
    }

    private sealed class Model : Module<Tensor, Tensor>
    {
        private readonly TorchSharp.Modules.Linear query = Linear(32, Heads * Group * HeadSize);
        private readonly TorchSharp.Modules.Linear key = Linear(32, Heads * HeadSize);
        private readonly Func<Model, Tensor, Tensor> _code;

        internal Model(Func<Model, Tensor, Tensor> code, string qtype) : base(nameof(Model))
        {
            _code = code;
            Cache = new QuantizedKvCache(Heads, HeadSize, qtype, batch: 2, capacity: 64);
            RegisterComponents();
            eval();
        }

        internal QuantizedKvCache Cache { get; }

        internal Tensor Kept { get; set; } = null!;

        internal Tensor Query(Tensor x) => Split(query.call(x));

        internal Tensor Key(Tensor x) => Split(key.call(x));

        public override Tensor forward(Tensor x) => _code(this, x);

        protected override void Dispose(bool disposing)
        {
            if (disposing) Cache.Dispose();
            base.Dispose(disposing);
        }

        private static Tensor Split(Tensor x) => x.view(x.size(0), x.size(1), -1, HeadSize).transpose(1, 2);
    }
}
