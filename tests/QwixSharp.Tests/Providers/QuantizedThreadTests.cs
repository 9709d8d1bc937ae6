using System.Collections.Concurrent;
using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers;

/// <summary>Quantized models are called by several threads at once.</summary>
public class QuantizedThreadTests
{
    private static readonly QuantizationRule[] Dynamic = [new() { WeightQType = "int8", ActQType = "int8" }];

    [Fact]
    public void EightThreadsOnOneModel()
    {
        using var model = new Mixed();
        using var ids = randint(40, [2, 6], ScalarType.Int64);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(Dynamic), ids);
        quantized.eval();
        // As the threads call it: where gradients are recorded, ops are not computed together, and round otherwise.
        var expected = Call(quantized, ids);
        var results = OnThreads(8, _ => Enumerable.Range(0, 5).Select(_ => Call(quantized, ids)).ToList());
        Assert.All(results.SelectMany(r => r), y => Assert.Equal(expected, y));
    }

    [Fact]
    public void WeightsThatThreadsMeetFirstAreQuantizedOnce()
    {
        for (int round = 0; round < 5; round++)
        {
            using var model = new Branching();
            using var positive = rand(4, 32);
            using var negative = -positive;
            using var quantized = Qwix.QuantizeModel(model, new PtqProvider(Dynamic), positive);
            using var whole = Qwix.QuantizeModel(model, new PtqProvider(Dynamic), negative);
            quantized.eval();
            Assert.Equal(["positive.weight"], quantized.Weights.Keys);
            var first = Call(quantized, positive);
            var second = Call(whole, negative);
            using var barrier = new Barrier(8);

            var results = OnThreads(8, i =>
            {
                barrier.SignalAndWait();
                return Call(quantized, i % 4 == 3 ? positive : negative);
            });

            for (int i = 0; i < 8; i++)
                Assert.Equal(i % 4 == 3 ? first : second, results[i]);
            Assert.Equal(["negative.weight", "positive.weight"], quantized.Weights.Keys);
        }
    }

    [Fact]
    public void AWeightMetInACallOutlivesTheScopeOfTheCall()
    {
        using var model = new Branching();
        using var positive = rand(4, 32);
        using var negative = -positive;
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(Dynamic), positive);
        byte[] first = Call(quantized, negative);
        Assert.Equal(first, Call(quantized, negative));
        Assert.False(quantized.Weights["negative.weight"].Codes.IsInvalid);
    }

    [Fact]
    public void TwoThreadsOnTwoModels()
    {
        using var ids = randint(40, [2, 6], ScalarType.Int64);
        Mixed[] models = [new(), new()];
        string[] types = ["int8", "nf4"];
        var quantized = Enumerable.Range(0, 2).Select(i => Qwix.QuantizeModel(models[i], new PtqProvider([new() { WeightQType = types[i] }]), ids)).ToList();
        quantized.ForEach(q => q.eval());
        var expected = quantized.Select(q => Call(q, ids)).ToList();
        var results = OnThreads(2, i => Enumerable.Range(0, 10).Select(_ => Call(quantized[i], ids)).ToList());
        for (int i = 0; i < 2; i++)
            Assert.All(results[i], y => Assert.Equal(expected[i], y));
        quantized.ForEach(q => q.Dispose());
        Assert.All(models, m => m.Dispose());
    }

    [Fact]
    public void TwoThreadsQuantizeAtOnce()
    {
        using var ids = randint(40, [2, 6], ScalarType.Int64);
        using var model = new Mixed();
        using var other = new Mixed();
        other.load_state_dict(model.state_dict());
        var outputs = OnThreads(2, i =>
        {
            using var quantized = Qwix.QuantizeModel(i == 0 ? model : other, new PtqProvider(Dynamic), ids);
            quantized.eval();
            return Call(quantized, ids);
        });
        Assert.Equal(outputs[0], outputs[1]);
    }

    private static byte[] Call(QuantizedModule<Tensor, Tensor> quantized, Tensor x)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        return quantized.call(x).contiguous().bytes.ToArray();
    }

    private static T[] OnThreads<T>(int count, Func<int, T> work)
    {
        var results = new T[count];
        var errors = new ConcurrentBag<Exception>();
        var threads = Enumerable.Range(0, count).Select(i => new Thread(() =>
        {
            try
            {
                results[i] = work(i);
            }
            catch (Exception error)
            {
                errors.Add(error);
            }
        })).ToList();
        threads.ForEach(t => t.Start());
        threads.ForEach(t => t.Join());
        Assert.Empty(errors);
        return results;
    }
}
