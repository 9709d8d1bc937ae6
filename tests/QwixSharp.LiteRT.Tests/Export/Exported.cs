using QwixSharp.LiteRT.Tests.Runtime;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Export;

/// <summary>Exports models, runs the files, and compares with TorchSharp.</summary>
internal static class Exported
{
    /// <summary>Checks that a file gives what the model gives, and returns what a reader sees in the file.</summary>
    public static LiteRtModel Check(LiteRtRuntime runtime, nn.Module model, Tensor[] inputs, double tolerance = 1e-5, LiteRtOptions? options = null, Tensor[]? expected = null)
    {
        model.eval();
        expected ??= [.. Call(model, inputs)];
        var file = LiteRtConverter.Convert(model, inputs, options ?? new LiteRtOptions());
        var path = Path.Combine(Path.GetTempPath(), $"qwixsharp-{Guid.NewGuid():N}.tflite");
        try
        {
            file.Export(path);
            var read = file.Inspect();
            var (newer, older) = runtime.RunInBoth(path, [inputs]);
            CompareAll(expected, newer[0], tolerance);
            SecondOpinion.Check(read, older, (outputs, _) => CompareAll(expected, outputs[0], tolerance));
            return read;
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static void CompareAll(Tensor[] expected, RunOutput[] outputs, double tolerance)
    {
        Assert.Equal(expected.Length, outputs.Length);
        for (int i = 0; i < expected.Length; i++)
            Compare(expected[i], outputs[i].ToTensor(), tolerance);
    }

    /// <summary>Differences are relative to the largest expected value, and absolute below one.</summary>
    public static void Compare(Tensor expected, Tensor actual, double tolerance)
    {
        Assert.Equal(expected.shape, actual.shape);
        Assert.Equal(expected.dtype, actual.dtype);
        Assert.InRange(Difference(expected, actual), 0, tolerance);
    }

    private static double Difference(Tensor expected, Tensor actual)
    {
        using var scope = NewDisposeScope();
        var (e, a) = (expected.detach().to(ScalarType.Float64), actual.to(ScalarType.Float64));
        var same = e.eq(a);
        var difference = where(same, zeros_like(e), (e - a).abs());
        double scale = Math.Max(1, where(e.isfinite(), e.abs(), zeros_like(e)).max().item<double>());
        return difference.max().item<double>() / scale;
    }

    public static IEnumerable<Tensor> Call(nn.Module model, Tensor[] inputs)
    {
        using var noGradient = no_grad();
        object result = model switch
        {
            nn.Module<Tensor, Tensor> m => m.call(inputs[0]),
            nn.Module<Tensor, Tensor, Tensor> m => m.call(inputs[0], inputs[1]),
            nn.Module<Tensor, Tensor, Tensor, Tensor> m => m.call(inputs[0], inputs[1], inputs[2]),
            nn.Module<Tensor, (Tensor, Tensor)> m => m.call(inputs[0]),
            nn.Module<Tensor, Tensor[]> m => m.call(inputs[0]),
            _ => throw new NotSupportedException(model.GetType().ToString()),
        };
        return result switch
        {
            Tensor tensor => [tensor],
            Tensor[] tensors => tensors,
            (Tensor first, Tensor second) => [first, second],
            _ => throw new NotSupportedException(),
        };
    }
}

/// <summary>A model that is one function.</summary>
internal sealed class Function(Func<Tensor, Tensor> function) : nn.Module<Tensor, Tensor>(nameof(Function))
{
    public override Tensor forward(Tensor input) => function(input);
}

/// <summary>A model that is one function of two inputs.</summary>
internal sealed class Function2(Func<Tensor, Tensor, Tensor> function) : nn.Module<Tensor, Tensor, Tensor>(nameof(Function2))
{
    public override Tensor forward(Tensor a, Tensor b) => function(a, b);
}

/// <summary>A model that is one function of three inputs.</summary>
internal sealed class Function3(Func<Tensor, Tensor, Tensor, Tensor> function) : nn.Module<Tensor, Tensor, Tensor, Tensor>(nameof(Function3))
{
    public override Tensor forward(Tensor a, Tensor b, Tensor c) => function(a, b, c);
}

/// <summary>A model with two outputs.</summary>
internal sealed class Pair(Func<Tensor, (Tensor, Tensor)> function) : nn.Module<Tensor, (Tensor, Tensor)>(nameof(Pair))
{
    public override (Tensor, Tensor) forward(Tensor input) => function(input);
}
