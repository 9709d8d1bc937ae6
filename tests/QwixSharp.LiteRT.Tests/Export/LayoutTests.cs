using QwixSharp.LiteRT.Tests.Runtime;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Export;

/// <summary>Random programs of ops that move axes about, around a convolution whose images are channels-last in the file.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class LayoutTests(LiteRtRuntime runtime)
{
    public static TheoryData<int> Seeds => [.. Enumerable.Range(0, 40)];

    [Theory]
    [MemberData(nameof(Seeds))]
    public void AxesAreCarriedThroughAnyProgram(int seed)
    {
        using var scope = NewDisposeScope();
        manual_seed(seed);
        var conv = nn.Conv2d(6, 6, 1);
        var random = new Random(seed);
        var steps = Enumerable.Range(0, random.Next(2, 8)).Select(_ => (Kind: random.Next(9), Seed: random.Next())).ToList();
        var model = new Function(x => steps.Aggregate(conv.call(x), (y, step) => Step(y, step.Kind, new Random(step.Seed))));
        Exported.Check(runtime, model, [randn(2, 6, 4, 5)]);
    }

    private static Tensor Step(Tensor x, int kind, Random random)
    {
        int rank = (int)x.dim(), axis = random.Next(rank);
        switch (kind)
        {
            case 0:
                long[] axes = [.. Enumerable.Range(0, rank).Select(a => (long)a)];
                random.Shuffle(axes);
                return x.permute(axes);
            case 1:
                return x.reshape(Shape(x.NumberOfElements, random));
            case 2:
                return axis < rank - 1 ? x.flatten(axis, axis + 1) : x.unsqueeze(axis);
            case 3:
                return x.relu() + 1;
            case 4:
                return x * linspace(0.5, 1.5, x.shape[axis]).reshape([-1, .. Enumerable.Repeat(1L, rank - 1 - axis)]);
            case 5:
                return nn.functional.softmax(x, axis);
            case 6:
                return x - x.mean([axis], keepdim: true);
            case 7:
                return cat([x, x * 2], axis).narrow(axis, 1, x.shape[axis]);
            default:
                return rank > 2 ? x.transpose(0, axis) + x.transpose(0, axis).tanh() : x.matmul(x.t()).tanh();
        }
    }

    /// <summary>Two to five factors of a number.</summary>
    private static long[] Shape(long elements, Random random)
    {
        List<long> shape = [];
        int axes = random.Next(1, 5);
        for (int i = 0; i < axes; i++)
        {
            long[] divisors = [.. Enumerable.Range(1, 12).Select(d => (long)d).Where(d => elements % d == 0)];
            shape.Add(divisors[random.Next(divisors.Length)]);
            elements /= shape[^1];
        }

        return [.. shape, elements];
    }
}
