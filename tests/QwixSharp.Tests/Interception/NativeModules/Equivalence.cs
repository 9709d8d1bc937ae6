using System.Reflection;
using QwixSharp.Interception.NativeModules;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception.NativeModules;

/// <summary>Runs a native module's method and its replacement, and compares them.</summary>
internal static class Equivalence
{
    internal const double Tolerance = 1e-5;

    static Equivalence()
    {
        // A module constructor alone does not load libtorch; any use of torch does.
        using var loaded = torch.zeros(1);
    }

    internal static void Seed(int seed = 1) => torch.random.manual_seed(seed);

    internal static MethodInfo Native(nn.Module module, string name, int count) =>
        NativeModuleTable.NativeMethods.Single(m => m.DeclaringType == module.GetType() && m.Name == name && m.GetParameters().Length == count);

    internal static object? Replacement(nn.Module module, string name, params object?[] arguments)
    {
        var replacement = NativeModuleTable.ReplacementFor(Native(module, name, arguments.Length));
        Assert.NotNull(replacement);
        return Call(replacement, null, [module, .. arguments]);
    }

    internal static object? Original(nn.Module module, string name, params object?[] arguments) =>
        Call(Native(module, name, arguments.Length), module, arguments);

    /// <summary>Asserts that outputs are equal, and, with gradients, that those of all parameters are.</summary>
    internal static void Check(nn.Module module, bool gradients, string name, params object?[] arguments) =>
        Check(module, gradients, Tolerance, name, arguments);

    internal static void Check(nn.Module module, bool gradients, double tolerance, string name, params object?[] arguments)
    {
        using var scope = NewDisposeScope();
        var expected = Tensors(Original(module, name, arguments)).ToArray();
        var actual = Tensors(Replacement(module, name, arguments)).ToArray();
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++) Close(expected[i], actual[i], tolerance, $"output {i}");
        if (!gradients) return;
        var nativeGradients = Gradients(module, expected);
        var managedGradients = Gradients(module, actual);
        Assert.Equal(nativeGradients.Keys, managedGradients.Keys);
        foreach (var (parameter, gradient) in nativeGradients) Close(gradient, managedGradients[parameter], tolerance * 10, $"gradient of {parameter}");
    }

    internal static void Close(Tensor expected, Tensor actual, double tolerance, string what)
    {
        Assert.Equal(expected.shape, actual.shape);
        Assert.Equal(expected.dtype, actual.dtype);
        if (expected.numel() == 0) return;
        var a = expected.is_sparse ? expected.to_dense() : expected;
        var b = actual.is_sparse ? actual.to_dense() : actual;
        Assert.True(a.isnan().Equals(b.isnan()), $"{what}: NaN in other places");
        var difference = (a - b).nan_to_num().abs().max().to(ScalarType.Float64).item<double>();
        if (Environment.GetEnvironmentVariable("QWIX_DIFF") is { } f) lock (f) File.AppendAllText(f, $"{what} {difference} {tolerance}\n");
        Assert.True(difference <= tolerance, $"{what} differs by {difference}");
    }

    internal static IEnumerable<Tensor> Tensors(object? result) => result switch
    {
        Tensor t => [t],
        Tuple<Tensor, Tensor> pair => pair.Item2.IsInvalid ? [pair.Item1] : [pair.Item1, pair.Item2],
        ValueTuple<Tensor, Tensor> pair => [pair.Item1, pair.Item2],
        ValueTuple<Tensor, Tensor, Tensor> triple => [triple.Item1, triple.Item2, triple.Item3],
        _ => throw new InvalidOperationException($"unexpected result {result}"),
    };

    /// <summary>Gradients of a fixed, uneven sum of the outputs.</summary>
    private static Dictionary<string, Tensor> Gradients(nn.Module module, Tensor[] outputs)
    {
        var parameters = module.named_parameters().Where(p => p.parameter.requires_grad).ToArray();
        var loss = torch.zeros(1, dtype: outputs[0].dtype);
        foreach (var o in outputs) loss = loss + (o * torch.arange(o.numel(), dtype: o.dtype).sin().view(o.shape)).sum();
        var gradients = autograd.grad([loss.sum()], [.. parameters.Select(p => p.parameter)]);
        return parameters.Select((p, i) => (p.name, gradients[i])).ToDictionary(p => p.name, p => p.Item2);
    }

    private static object? Call(MethodInfo method, object? target, object?[] arguments)
    {
        try
        {
            return method.Invoke(target, arguments);
        }
        catch (TargetInvocationException e) when (e.InnerException is not null)
        {
            throw e.InnerException;
        }
    }

    /// <summary>Asserts that calls leave no tensor behind but their results.</summary>
    internal static void LeaksNothing(nn.Module module, string name, params object?[] arguments)
    {
        foreach (var t in Tensors(Replacement(module, name, arguments))) t.Dispose();
        GC.Collect();
        GC.WaitForPendingFinalizers();
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (var i = 0; i < 3; i++)
        {
            foreach (var t in Tensors(Replacement(module, name, arguments))) t.Dispose();
        }

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }
}
