using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>Inputs of no rows, of one, and of memory with gaps that begins anywhere, for each kind of op and of quantization.</summary>
[Collection(RandomState.Name)]
public class UnusualInputTests
{
    private static readonly Dictionary<string, QuantizationRule> Rules = new()
    {
        ["int8"] = new() { WeightQType = "int8" },
        ["int4, tiles"] = new() { WeightQType = "int4", TileSize = 32 },
        ["nf4"] = new() { WeightQType = "nf4" },
        ["int8 × int8"] = new() { WeightQType = "int8", ActQType = "int8" },
        ["int8 × int8, fixed"] = new() { WeightQType = "int8", ActQType = "int8", ActCalibrationMethod = "fixed,-3,3" },
        ["int8 × int8, static"] = new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = true },
        ["int4 × int8, tiles"] = new() { WeightQType = "int4", ActQType = "int8", TileSize = 32 },
        ["fp8 × fp8"] = new() { WeightQType = "float8_e4m3fn", ActQType = "float8_e4m3fn" },
    };

    public static TheoryData<string, string> Cases =>
        [.. from model in NotFiniteModels.All from rule in Rules where model.Value.Allows(rule.Value) select (model.Key, rule.Key)];

    [Theory]
    [MemberData(nameof(Cases))]
    public void AreComputedAsAnyOther(string name, string rule)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(2);
        using var model = NotFiniteModels.All[name].Make();
        model.eval();
        var x = randn(NotFiniteModels.All[name].Shape);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([Rules[rule]]), x);
        var expected = quantized.call(x);
        foreach (var input in new[] { WithGaps(x), AtAnOffset(x), x.transpose(0, -1).contiguous().transpose(0, -1) })
            Assert.True(expected.allclose(quantized.call(input), rtol: 1e-5, atol: 1e-5), "the same numbers elsewhere in memory");

        var repeated = x.narrow(-1, 0, 1).expand(x.shape);
        Assert.True(quantized.call(repeated.contiguous()).allclose(quantized.call(repeated), rtol: 1e-5, atol: 1e-5), "one number in memory for all of a row");

        foreach (int length in new[] { 0, 1 })
        {
            var part = x.narrow(0, 0, length);
            if (ShapeOf(model, part) is not { } shape)
                continue;
            // Its first axis is that of tokens, each of which has a scale in attention.
            if (name == "transformer layer" && Rules[rule].ActStaticScale == true)
                Assert.Contains(nameof(QuantizationRule.ActBatchAxes), Assert.Throws<QwixException>(() => quantized.call(part)).Message);
            else
                Assert.Equal(shape, quantized.call(part).shape);
        }

        Assert.True(expected.equal(quantized.call(x)).all().item<bool>(), "the model stays as it is");
    }

    /// <summary>More rows than two bytes can count, each computed as it is alone.</summary>
    [Theory]
    [InlineData("int8")]
    [InlineData("int4, tiles")]
    [InlineData("nf4")]
    [InlineData("int8 × int8")]
    [InlineData("int4 × int8, tiles")]
    [InlineData("fp8 × fp8")]
    public void AHundredThousandRows(string rule)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = Sequential(Linear(64, 24), ReLU(), Linear(24, 5));
        var x = rand(100_003, 64) - 0.5;
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([Rules[rule] with { TileSize = Rules[rule].TileSize is null ? null : 8 }]), x[..2]);
        var all = quantized.call(x);
        foreach (int row in new[] { 0, 32_768, 65_535, 65_536, 100_002 })
            Assert.True(all[row].allclose(quantized.call(x.narrow(0, row, 1))[0], rtol: 1e-5, atol: 1e-5), $"row {row}");
    }

    /// <summary>Many callers, and a number of threads that changes under them.</summary>
    [Theory]
    [InlineData("int8")]
    [InlineData("int8 × int8")]
    [InlineData("int4 × int8, tiles")]
    public void TheNumberOfThreadsChangesWhileAModelRuns(string rule)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = Sequential(Linear(64, 96), ReLU(), Linear(96, 32));
        var x = randn(40, 64);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([Rules[rule]]), x);
        var expected = quantized.call(x).bytes.ToArray();
        int before = get_num_threads();
        bool isDone = false;
        var changing = new Thread(() =>
        {
            for (int i = 0; !Volatile.Read(ref isDone); i++)
                set_num_threads(1 + (i % 4));
        });
        changing.Start();

        try
        {
            Parallel.For(0, 8, new ParallelOptions { MaxDegreeOfParallelism = 8 }, _ =>
            {
                using var ofThread = no_grad();
                for (int call = 0; call < 25; call++)
                {
                    using var ofCall = NewDisposeScope();
                    Assert.Equal(expected, quantized.call(x).bytes.ToArray());
                }
            });
        }
        finally
        {
            Volatile.Write(ref isDone, true);
            changing.Join();
            set_num_threads(before);
        }
    }

    /// <summary>Every second element of rows that lie apart.</summary>
    private static Tensor WithGaps(Tensor x)
    {
        long[] shape = [.. x.shape[..^1], (2 * x.shape[^1]) + 3];
        var wide = full(shape, float.NaN);
        var view = wide.slice(-1, 1, 1 + (2 * x.shape[^1]), 2);
        view.copy_(x);
        return view;
    }

    /// <summary>Without gaps, from the second element of memory on.</summary>
    private static Tensor AtAnOffset(Tensor x) => cat([zeros(1), x.reshape(-1)]).slice(0, 1, x.numel() + 1, 1).view(x.shape);

    /// <summary>The shape of the model's result; null where it takes no such input.</summary>
    private static long[]? ShapeOf(Module<Tensor, Tensor> model, Tensor x)
    {
        try
        {
            return model.call(x).shape;
        }
        catch (System.Runtime.InteropServices.ExternalException)
        {
            return null;
        }
    }
}
