using QwixSharp.Numerics;
using QwixSharp.Providers;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers;

public class QuantizedModuleTests
{
    private static readonly QuantizationRule[] Int8 = [new() { WeightQType = "int8" }];

    [Fact]
    public void TheFiveLinesOfTheReadmeWork()
    {
        using var model = new TwoLayer();
        using var input = randn(4, 32);
        model.eval();
        using var expected = model.call(input);
        var rules = new[] { new QuantizationRule { ModulePath = ".*", WeightQType = "int8", ActQType = "int8" } };
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider(rules), input);
        using var y = ptq.call(input);
        Assert.InRange(Golden.GoldenValue.Snr(expected, y), 25, 100);
    }

    [Fact]
    public void TheUsersModelIsNotChanged()
    {
        using var model = new TwoLayer();
        model.train();
        model.First.eval();
        var before = model.state_dict().ToDictionary(s => s.Key, s => s.Value.bytes.ToArray());
        using var input = randn(4, 32);
        using (Qwix.QuantizeModel(model, new PtqProvider(Int8), input))
        {
            Assert.True(model.training);
            Assert.False(model.First.training);
        }

        foreach (var (name, value) in model.state_dict())
            Assert.Equal(before[name], value.bytes.ToArray());
        Assert.True(model.First.weight.requires_grad);
    }

    [Fact]
    public void StateHasQuantizedWeightsInPlaceOfParameters()
    {
        using var model = new TwoLayer();
        using var input = randn(4, 32);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider([new() { ModulePath = "first", WeightQType = "int4", TileSize = 16 }]), input);
        var state = ptq.state_dict();
        Assert.DoesNotContain("first.weight", state.Keys);
        Assert.Equal([64L, 16L], state["first.weight.qvalue"].shape);
        Assert.Equal([64L, 2L], state["first.weight.scale"].shape);
        Assert.Contains("second.weight", state.Keys);
        Assert.Equal(model.named_parameters().Select(p => p.name).Where(n => n != "first.weight").Order(), ptq.named_parameters().Select(p => p.name).Order());
        Assert.Equal(QType.Int4, ptq.Weights["first.weight"].QType);
    }

    [Fact]
    public void SaveAndLoadCarryTheQuantizedWeights()
    {
        using var model = new TwoLayer();
        using var other = new TwoLayer();
        using var input = randn(4, 32);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider(Int8), input);
        using var copy = Qwix.QuantizeModel(other, new PtqProvider(Int8), input);
        var file = Path.GetTempFileName();
        try
        {
            ptq.save(file);
            copy.load(file);
        }
        finally
        {
            File.Delete(file);
        }

        ptq.eval();
        copy.eval();
        using Tensor a = ptq.call(input), b = copy.call(input);
        Assert.Equal(a.bytes.ToArray(), b.bytes.ToArray());
    }

    [Fact]
    public void ModesReachTheUsersModel()
    {
        using var model = new TwoLayer();
        using var input = randn(4, 32);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider(Int8), input);
        ptq.eval();
        Assert.False(model.First.training);
        ptq.train();
        Assert.True(model.First.training && ptq.training);
    }

    [Fact]
    public void HooksOfTheWrapperAndOfInnerModulesRun()
    {
        using var model = new TwoLayer();
        model.eval();
        int inner = 0, outer = 0;
        model.First.register_forward_hook((_, _, y) =>
        {
            inner++;
            return y;
        });
        using var input = randn(4, 32);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider(Int8), input);
        ptq.register_forward_hook((_, _, y) =>
        {
            outer++;
            return y;
        });
        inner = 0;
        ptq.call(input).Dispose();
        Assert.Equal((1, 1), (inner, outer));
    }

    [Theory]
    [InlineData(ScalarType.Float64)]
    [InlineData(ScalarType.BFloat16)]
    public void ToAnotherDtypeMovesScalesAndTheRest(ScalarType dtype)
    {
        using var model = new TwoLayer();
        using var input = randn(4, 32);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider(Int8), input);
        ptq.eval();
        using var before = ptq.call(input);
        ptq.to(dtype);
        Assert.Equal(dtype, ptq.Weights["first.weight"].Dtype);
        using var after = ptq.call(input.to(dtype));
        Assert.Equal(dtype, after.dtype);
        Assert.True(Golden.GoldenValue.Snr(before, after) > 30);
        ptq.to(new Device(DeviceType.CPU));
    }

    [Fact]
    public void DisposingLeavesTheUsersModelAlive()
    {
        using var model = new TwoLayer();
        model.eval();
        using var input = randn(4, 32);
        using var before = model.call(input);
        Qwix.QuantizeModel(model, new PtqProvider(Int8), input).Dispose();
        GC.Collect();
        GC.WaitForPendingFinalizers();
        using var after = model.call(input);
        Assert.Equal(before.bytes.ToArray(), after.bytes.ToArray());
    }

    [Fact]
    public void ReleasedWeightsTakeNoMemoryAndGiveTheSameResults()
    {
        using var model = new TwoLayer();
        using var input = randn(4, 32);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider(Int8), input);
        ptq.eval();
        using var before = ptq.call(input);
        ptq.ReleaseOriginalWeights();
        using var after = ptq.call(input);
        Assert.Equal(before.bytes.ToArray(), after.bytes.ToArray());
        Assert.Equal([64L, 32L], model.First.weight.shape);
        Assert.Equal([0L, 0L], model.First.weight.stride());
        Assert.True(model.call(input).isnan().all().item<bool>());
    }

    [Fact]
    public void AWeightThatOtherOpsNeedIsKept()
    {
        using var model = new Functional(randn(8, 16), (m, x) => functional(x, m.W) + m.W.abs().sum());
        using var input = randn(4, 16);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider(Int8), input);
        using var before = ptq.call(input);
        ptq.ReleaseOriginalWeights();
        using var after = ptq.call(input);
        Assert.False(model.W.isnan().any().item<bool>());
        Assert.Equal(before.bytes.ToArray(), after.bytes.ToArray());

        static Tensor functional(Tensor x, Tensor w) => nn.functional.linear(x, w);
    }

    [Fact]
    public void AReleasedWeightIsRestoredForAnOpThatFirstNeedsItLater()
    {
        bool regularize = false;
        using var model = new Functional(randn(8, 16), (m, x) => regularize ? nn.functional.linear(x, m.W) * m.W.abs().mean() : nn.functional.linear(x, m.W));
        using var input = randn(4, 16);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider(Int8), input);
        ptq.ReleaseOriginalWeights();
        regularize = true;
        using var y = ptq.call(input);
        Assert.False(y.isnan().any().item<bool>());
    }

    [Fact]
    public void AnotherProviderQuantizesWhatTheFirstLeft()
    {
        using var model = new TwoLayer();
        using var input = randn(4, 32);
        using var first = Qwix.QuantizeModel(model, new PtqProvider([new() { ModulePath = "first", WeightQType = "int8" }]), input);
        using var both = Qwix.QuantizeModel(first, new PtqProvider([new() { WeightQType = "nf4" }]), input);
        Assert.Equal("int8", both.Weights["first.weight"].QType.Name);
        Assert.Equal("nf4", both.Weights["second.weight"].QType.Name);
        Assert.Equal(["first.weight"], first.Weights.Keys);
    }

    [Fact]
    public void ATiedTableIsQuantizedOnce()
    {
        using var model = new Tied();
        using var ids = tensor(new long[] { 1, 5, 39, 5 });
        using var expected = model.call(ids);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider(Int8), ids);
        Assert.Equal(["mix.weight", "table.weight"], ptq.Weights.Keys);
        using var y = ptq.call(ids);
        Assert.True(Golden.GoldenValue.Snr(expected, y) > 30);
        ptq.ReleaseOriginalWeights();
        using var released = ptq.call(ids);
        Assert.Equal(y.bytes.ToArray(), released.bytes.ToArray());
    }

    [Fact]
    public void OtherMethodsAreCalledByName()
    {
        using var model = new TwoLayer();
        model.eval();
        using var input = randn(4, 32);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider(Int8), input, "encode");
        ptq.eval();
        using var quantized = ptq.Invoke<Tensor>("encode", input);
        using var plain = model.encode(input);
        Assert.InRange(Golden.GoldenValue.Snr(plain, quantized), 30, 100);
        Assert.Contains("decode", Assert.Throws<QwixException>(() => Qwix.QuantizeModel(model, new PtqProvider(Int8), input, "decode")).Message);
        var error = Record.Exception(() => (object)ptq.Invoke<Task<Tensor>>("Later", input));
        Assert.Contains("async", Assert.IsType<QwixException>(error).Message);
    }

    [Fact]
    public void ModelsOfSixInputs()
    {
        using var model = new Six();
        using var x = randn(3, 8);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider(Int8), x, x, x, x, x, x);
        using var y = ptq.call(x, x, x, x, x, x);
        using var plain = model.call(x, x, x, x, x, x);
        Assert.InRange(Golden.GoldenValue.Snr(plain, y), 30, 100);
    }

    [Fact]
    public void QuantizingAgainKeepsWhatWasLoadedAndReleased()
    {
        using var scope = NewDisposeScope();
        using var model = new TwoLayer();
        using var other = new TwoLayer();
        var input = randn(4, 32);
        using var first = Qwix.QuantizeModel(model, new PtqProvider([new() { ModulePath = "first", WeightQType = "int8" }]), input);
        first.load_state_dict(Qwix.QuantizeParams(other.state_dict(), first));
        first.ReleaseOriginalWeights();
        using var both = Qwix.QuantizeModel(first, new PtqProvider([new() { ModulePath = "second", WeightQType = "int8" }]), input);
        other.eval();
        both.eval();
        Assert.True(Golden.GoldenValue.Snr(other.call(input), both.call(input)) > 25);
        first.Dispose();
        Assert.True(Golden.GoldenValue.Snr(other.call(input), both.call(input)) > 25);
    }

    [Fact]
    public void WhatAnotherMethodQuantizesLaterIsInTheStateToo()
    {
        using var scope = NewDisposeScope();
        using var model = new TwoHeads();
        var input = randn(4, 8);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider(Int8), input, "other");
        Assert.Contains("b.weight", ptq.state_dict().Keys);
        ptq.Invoke<Tensor>("other", input);
        Assert.Contains("b.weight.qvalue", ptq.state_dict().Keys);
        Assert.DoesNotContain("b.weight", ptq.state_dict().Keys);
    }

    [Fact]
    public void StrictLooksAtTheOtherMethodsToo()
    {
        using var model = new TwoLayer();
        using var input = randn(4, 32);
        using var seen = Qwix.QuantizeModel(model, new PtqProvider(Int8) { Strict = true }, input);
        Assert.Throws<QwixSharp.Interception.InterceptionException>(() => Qwix.QuantizeModel(model, new PtqProvider(Int8) { Strict = true }, input, "Later"));
    }

    [Fact]
    public void AModelInEvaluationModeStaysInIt()
    {
        using var model = new TwoLayer();
        model.eval();
        using var input = randn(4, 32);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider(Int8), input);
        Assert.False(ptq.training);
    }

    [Fact]
    public void AStaticScaleThatDoesNotFitNamesTheAxes()
    {
        using var scope = NewDisposeScope();
        using var model = nn.Sequential(("a", nn.Linear(8, 8)));
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = true }]), randn(2, 7, 8));
        Assert.Contains("ActBatchAxes", Assert.Throws<QwixException>(() => ptq.call(randn(3, 11, 8))).Message);
    }

    [Fact]
    public void MicroScaledConvolutionsAreRefusedWithAWayOut()
    {
        using var model = nn.Sequential(("a", nn.Conv2d(3, 8, 3)));
        using var input = randn(1, 3, 8, 8);
        Assert.Contains("OpNames", Assert.Throws<QwixException>(() => Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "mxfp8", TileSize = 32 }]), input)).Message);
    }
}
