using TorchSharp;
using static QwixSharp.Tests.Interception.NativeModules.Equivalence;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception.NativeModules;

[Collection(RandomState.Name)]
public class RecurrentTests
{
    private const long Inputs = 5, Hidden = 6, Length = 4, Batch = 3;

    public static TheoryData<string, long, bool, bool, bool, bool> Options()
    {
        var data = new TheoryData<string, long, bool, bool, bool, bool>();
        foreach (var kind in new[] { "lstm", "gru", "tanh", "relu" })
        {
            foreach (var layers in new[] { 1L, 3 })
            {
                for (var flags = 0; flags < 8; flags++) data.Add(kind, layers, (flags & 1) > 0, (flags & 2) > 0, (flags & 4) > 0, flags % 3 == 0);
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void EqualsNative(string kind, long layers, bool bias, bool batchFirst, bool bidirectional, bool training)
    {
        Seed();
        using var module = Make(kind, layers, bias, batchFirst, 0, bidirectional);
        module.train(training);
        var (x, state) = Inputs3(kind, layers, batchFirst, bidirectional);
        Check(module, gradients: true, "forward", x, state);
        Check(module, gradients: true, "forward", x, null);
    }

    [Theory]
    [InlineData("lstm")]
    [InlineData("gru")]
    [InlineData("tanh")]
    [InlineData("relu")]
    public void KeepsDoublePrecision(string kind)
    {
        Seed();
        using var module = Make(kind, 2, true, false, 0, true).to(ScalarType.Float64);
        Check(module, true, 1e-12, "forward", randn(Length, Batch, Inputs, dtype: ScalarType.Float64), null);
    }

    [Theory]
    [InlineData("lstm", 0.3, false)]
    [InlineData("gru", 0.25, true)]
    [InlineData("tanh", 0.5, true)]
    [InlineData("relu", 0.1, false)]
    [InlineData("lstm", 0.9, false)]
    [InlineData("gru", 1.0, false)]
    public void DropsAsNativeDoes(string kind, double p, bool bias)
    {
        Seed();
        using var module = Make(kind, 3, bias, false, p, true);
        foreach (var parameter in module.parameters().Take(5)) parameter.requires_grad = false;
        module.train();
        using var x = randn(Length, Batch, Inputs);
        using (var first = random.get_rng_state())
        {
            // Measuring the probability must not move torch's random generator.
            var before = torch.rand(1).item<float>();
            random.set_rng_state(first);
            Assert.Equal(p, Dropout(module), 5);
            Assert.Equal(before, torch.rand(1).item<float>());
        }

        // The same operations in the same order draw the same masks.
        Seed(7);
        var native = Tensors(Original(module, "forward", x, null)).ToArray();
        Seed(7);
        var managed = Tensors(Replacement(module, "forward", x, null)).ToArray();
        for (var i = 0; i < native.Length; i++) Close(native[i], managed[i], Tolerance, $"output {i}");
        Assert.False(module.get_parameter("weight_ih_l0")!.requires_grad);
        module.eval();
        Check(module, gradients: false, "forward", x, null);
    }

    [Theory]
    [InlineData("lstm")]
    [InlineData("gru")]
    [InlineData("relu")]
    public void LeavesNothingBehind(string kind)
    {
        using var module = Make(kind, 2, true, true, 0.2, true);
        using var x = randn(Batch, Length, Inputs);
        LeaksNothing(module, "forward", x, null);
        using (no_grad()) LeaksNothing(module, "forward", x, null);
    }

    [Theory]
    [InlineData("lstm")]
    [InlineData("gru")]
    [InlineData("tanh")]
    public void RefusesUnbatchedInputAsNativeDoes(string kind)
    {
        using var module = Make(kind, 1, true, false, 0, false);
        using var x = randn(Length, Inputs);
        Assert.ThrowsAny<Exception>(() => Original(module, "forward", x, null));
        var error = Assert.Throws<ArgumentException>(() => Replacement(module, "forward", x, null));
        Assert.Contains("3 dimensions", error.Message);
    }

    [Fact]
    public void SaysWhenTheNonLinearityCannotBeTold()
    {
        using var module = nn.RNN(Inputs, Hidden);
        using (no_grad())
        {
            foreach (var p in module.parameters()) p.zero_();
        }

        using var x = randn(Length, Batch, Inputs);
        var error = Assert.Throws<QwixException>(() => Replacement(module, "forward", x, null));
        Assert.Contains("tanh or ReLU", error.Message);
    }

    [Theory]
    [InlineData("lstm", true)]
    [InlineData("lstm", false)]
    [InlineData("gru", true)]
    [InlineData("gru", false)]
    [InlineData("tanh", true)]
    [InlineData("tanh", false)]
    [InlineData("relu", true)]
    [InlineData("relu", false)]
    public void CellsEqualNative(string kind, bool bias)
    {
        Seed();
        using nn.Module module = kind switch
        {
            "lstm" => nn.LSTMCell(Inputs, Hidden, bias),
            "gru" => nn.GRUCell(Inputs, Hidden, bias),
            "tanh" => nn.RNNCell(Inputs, Hidden, nn.NonLinearities.Tanh, bias),
            _ => nn.RNNCell(Inputs, Hidden, nn.NonLinearities.ReLU, bias),
        };
        using var x = randn(Batch, Inputs);
        using var h = randn(Batch, Hidden);
        object state = kind == "lstm" ? ((Tensor, Tensor)?)(h, h * 0.3) : h;
        Check(module, gradients: true, "forward", x, state);
        if (kind == "lstm") EqualsZeroState(module, x);
        else Check(module, gradients: false, "forward", x, null);
        using var single = randn(Inputs);
        if (kind != "lstm") Check(module, gradients: true, "forward", single, h[0]);
        LeaksNothing(module, "forward", x, null);
    }

    /// <summary>TorchSharp's own LSTMCell fails without a state, which is documented to mean zeros.</summary>
    private static void EqualsZeroState(nn.Module module, Tensor x)
    {
        using var scope = NewDisposeScope();
        var zero = zeros(Batch, Hidden);
        var expected = Tensors(Original(module, "forward", x, ((Tensor, Tensor)?)(zero, zero)));
        foreach (var (e, a) in expected.Zip(Tensors(Replacement(module, "forward", x, null)))) Close(e, a, Tolerance, "output");
    }

    private static double Dropout(nn.Module module) => module switch
    {
        TorchSharp.Modules.LSTM m => QwixSharp.Interception.NativeModules.RecurrentOptions.Of(m).Dropout,
        TorchSharp.Modules.GRU m => QwixSharp.Interception.NativeModules.RecurrentOptions.Of(m).Dropout,
        TorchSharp.Modules.RNN m => QwixSharp.Interception.NativeModules.RecurrentOptions.Of(m).Dropout,
        _ => throw new InvalidOperationException(),
    };

    private static nn.Module Make(string kind, long layers, bool bias, bool batchFirst, double dropout, bool bidirectional) => kind switch
    {
        "lstm" => nn.LSTM(Inputs, Hidden, layers, bias, batchFirst, dropout, bidirectional),
        "gru" => nn.GRU(Inputs, Hidden, layers, bias, batchFirst, dropout, bidirectional),
        "tanh" => nn.RNN(Inputs, Hidden, layers, nn.NonLinearities.Tanh, bias, batchFirst, dropout, bidirectional),
        _ => nn.RNN(Inputs, Hidden, layers, nn.NonLinearities.ReLU, bias, batchFirst, dropout, bidirectional),
    };

    private static (Tensor X, object State) Inputs3(string kind, long layers, bool batchFirst, bool bidirectional)
    {
        var x = batchFirst ? randn(Batch, Length, Inputs) : randn(Length, Batch, Inputs);
        var h = randn(layers * (bidirectional ? 2 : 1), Batch, Hidden);
        return (x, kind == "lstm" ? ((Tensor, Tensor)?)(h, randn_like(h)) : h);
    }
}
