using QwixSharp.Providers;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers;

/// <summary>TorchSharp counts the tensors of a thread that were made and not disposed: none may be left over.</summary>
public class LeakTests
{
    public static TheoryData<string> Schemes => [.. Rules.Keys];

    private static Dictionary<string, QuantizationRule[]> Rules { get; } = new()
    {
        ["weight-only"] = [new() { WeightQType = "int8" }],
        ["weight-only, tiles"] = [new() { WeightQType = "int4", TileSize = 8, OpNames = [OpNames.DotGeneral] }, new() { WeightQType = "nf4" }],
        ["dynamic"] = [new() { WeightQType = "int8", ActQType = "int8" }],
        ["dynamic, fp8"] = [new() { WeightQType = "fp8", ActQType = "fp8" }],
        ["dynamic, asymmetric"] = [new() { WeightQType = "int8", ActQType = "int8", ActCalibrationMethod = "minmax", ModulePath = "conv|output|encoder\\..*" }],
        ["static"] = [new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = true }],
    };

    [Theory]
    [MemberData(nameof(Schemes))]
    public void NothingIsLeftOfAModelAndItsCalls(string scheme)
    {
        using var model = new Mixed();
        using var ids = randint(40, [2, 6], ScalarType.Int64);
        // What TorchSharp itself makes once (buffers of modules, wrappers of parameters) is not ours to count.
        Run(model, ids, scheme, calls: 2);
        model.parameters().ToList();
        long before = Live();

        Run(model, ids, scheme, calls: 100);

        Assert.Equal(before, Live());
    }

    [Theory]
    [MemberData(nameof(Schemes))]
    public void NothingIsLeftOfReleasingMovingSavingAndLoading(string scheme)
    {
        using var ids = randint(40, [2, 6], ScalarType.Int64);
        var provider = new PtqProvider(Rules[scheme]);
        // A module leaves some tensors of its own behind when it is disposed, so that each use has one made before.
        Mixed[] models = [new(), new()];
        void Use(Mixed model)
        {
            using var quantized = Qwix.QuantizeModel(model, provider, ids);
            quantized.load_state_dict(quantized.state_dict());
            using var buffer = new MemoryStream();
            quantized.save(buffer);
            using var copy = new MemoryStream(buffer.ToArray());
            quantized.load(copy);
            foreach (var (_, tensor) in Qwix.QuantizeParams(model.state_dict(), quantized).Where(p => !model.state_dict().ContainsKey(p.Key)))
                tensor.Dispose();
            quantized.to(ScalarType.Float64);
            quantized.ReleaseOriginalWeights();
            using (NewDisposeScope())
                quantized.call(ids);
            quantized.to(ScalarType.Float32);
        }

        Use(models[0]);
        models[1].parameters().ToList();
        long before = Live();
        Use(models[1]);
        Assert.Equal(before, Live());
    }

    /// <summary>Without a scope around it, a call leaves what the model's own code leaves, and nothing of the quantization.</summary>
    [Theory]
    [MemberData(nameof(Schemes))]
    public void ACallLeavesNoMoreThanThePlainModel(string scheme)
    {
        using var noGrad = no_grad();
        using var model = new Mixed();
        model.eval();
        using var ids = randint(40, [2, 6], ScalarType.Int64);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(Rules[scheme]), ids);
        quantized.eval();
        long Left(nn.Module<Tensor, Tensor> called)
        {
            called.call(ids).Dispose();
            long before = Live();
            for (int i = 0; i < 10; i++)
                called.call(ids).Dispose();
            return Live() - before;
        }

        Assert.InRange(Left(quantized), 0, Left(model));
    }

    [Fact]
    public void AUsersScopeFreesNothingOfTheModel()
    {
        using var model = new Mixed();
        using var ids = randint(40, [2, 6], ScalarType.Int64);
        QuantizedModule<Tensor, Tensor> quantized;
        byte[] first;
        using (NewDisposeScope())
        {
            quantized = Qwix.QuantizeModel(model, new PtqProvider(Rules["static"]), ids);
            quantized.eval();
            first = quantized.call(ids).bytes.ToArray();
        }

        using (quantized)
        using (NewDisposeScope())
            Assert.Equal(first, quantized.call(ids).bytes.ToArray());
    }

    private static void Run(Mixed model, Tensor ids, string scheme, int calls)
    {
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(Rules[scheme]), ids);
        quantized.eval();
        for (int i = 0; i < calls; i++)
            using (NewDisposeScope())
                quantized.call(ids);
    }

    private static long Live() => DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
}
