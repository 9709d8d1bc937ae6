using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>Means for asking a native module about options that TorchSharp does not show.</summary>
[NotIntercepted]
internal static class Probe
{
    /// <summary>One probe at a time: a module's training flag may be switched for its length.</summary>
    internal static readonly Lock Gate = new();

    /// <summary>Uniform values in [-1, 1) that do not touch torch's random generator.</summary>
    internal static Tensor Values(int seed, Tensor like, params long[] shape)
    {
        var random = new Random(seed);
        var values = new float[shape.Aggregate(1L, (a, b) => a * b)];
        for (var i = 0; i < values.Length; i++) values[i] = (random.NextSingle() * 2) - 1;
        return tensor(values).reshape(shape).to(like.dtype).to(like.device);
    }

    internal static double MaxDifference(Tensor a, Tensor b) => Max(a - b);

    internal static double Max(Tensor a) => a.numel() == 0 ? 0 : a.abs().max().to(ScalarType.Float64).item<double>();

    internal static double[] ToArray(Tensor a) => a.detach().cpu().to(ScalarType.Float64).contiguous().data<double>().ToArray();

    /// <summary>Runs an action and gives the default CPU generator back the state that it had before.</summary>
    internal static T KeepingRandomState<T>(Func<T> action)
    {
        using var state = random.get_rng_state();
        try
        {
            return action();
        }
        finally
        {
            random.set_rng_state(state);
        }
    }

    /// <summary>Runs an action while a module is in evaluation or training mode.</summary>
    internal static T InMode<T>(nn.Module module, bool training, Func<T> action)
    {
        var before = module.training;
        if (before == training) return action();
        module.train(training);
        try
        {
            return action();
        }
        finally
        {
            module.train(before);
        }
    }

    /// <summary>The gradients of the sum of a tensor, of parameters that may be frozen or hold a gradient already.</summary>
    /// <remarks>Not by <c>autograd.grad</c>: TorchSharp lets its native errors end the process.</remarks>
    internal static Tensor[] Gradients(nn.Module module, Func<Tensor> output, params Tensor[] parameters)
    {
        var frozen = parameters.Where(p => !p.requires_grad).ToArray();
        var held = parameters.Select(p => p.grad).ToArray();
        foreach (var p in frozen) p.requires_grad = true;
        foreach (var p in parameters) p.grad = null;
        try
        {
            using var recording = inference_mode(false);
            using var enabled = enable_grad();
            autograd.backward([output().sum()], inputs: parameters);
            return [.. parameters.Select(p => p.grad ?? throw new QwixException(
                $"{module.GetName()} does not use the parameters that are registered for it: set them through its properties, or exclude the module by a rule."))];
        }
        finally
        {
            for (var i = 0; i < parameters.Length; i++) parameters[i].grad = held[i];
            foreach (var p in frozen) p.requires_grad = false;
        }
    }

    /// <summary>A dropout probability from 1 ÷ (1 − p), freed of rounding errors.</summary>
    internal static double Probability(double scale, ScalarType type) =>
        Math.Round(1 - (1 / scale), type is ScalarType.Float16 or ScalarType.BFloat16 ? 2 : 5);
}
