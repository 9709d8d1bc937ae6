using QwixSharp.Interception;
using QwixSharp.Providers.Odml.Device;
using QwixSharp.Providers.OpMap;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>Ops that a device computes as several, each with a range of its own.</summary>
internal static class Decompositions
{
    /// <summary>SiLU: x · sigmoid(x).</summary>
    internal static object? Silu(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        using var scope = NewDisposeScope();
        var site = run.NextSite(call, name);
        var x = run.Quantize(Arguments.Tensor(call, 0), site.Rule, site);
        return Delivered(run, call, Gated(run, call, site, x, x));
    }

    /// <summary>GLU: a · sigmoid(b), where a and b are halves of the input.</summary>
    internal static object? Glu(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        using var scope = NewDisposeScope();
        var site = run.NextSite(call, name);
        var x = run.Quantize(Arguments.Tensor(call, 0), site.Rule, site);
        var halves = (Tensor[])run.Execute(call, TorchOps.Chunk, [x, 2L, call.Arguments[1]])!;
        foreach (var half in halves)
            run.Tags[half] = new TensorTag { IsActivation = true, Codes = run.Tags[x]?.Codes };
        return Gated(run, call, site, halves[0], halves[1]).MoveToOuterDisposeScope();
    }

    /// <summary>x · sigmoid(of), tagged.</summary>
    private static Tensor Gated(OdmlRun run, in OpCall call, OdmlSite site, Tensor x, Tensor of)
    {
        var gate = (Tensor)run.Execute(call, TorchOps.Sigmoid, [of])!;
        run.Tag(gate, site.Rule, new() { Range = OpRanges.Sigmoid, HasFixedScale16 = true, Kernel = DeviceKernels.Of(run, call, "sigmoid", [of]) });
        gate = run.Quantize(gate, site.Rule, site, "sigmoid");
        var result = (Tensor)run.Execute(call, TorchOps.Multiply, [x, gate])!;
        run.Tag(result, site.Rule, new() { Kernel = DeviceKernels.Of(run, call, "mul", [x, gate]) });
        return result;
    }

    /// <summary>softmax(q·kᵀ ÷ √d + mask)·v ("Attention Is All You Need").</summary>
    internal static object? Attention(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        using var scope = NewDisposeScope();
        Tensor query = Arguments.Tensor(call, 0), key = Arguments.Tensor(call, 1), value = Arguments.Tensor(call, 2);
        var mask = (Tensor?)call.Arguments[3];
        if (call.Arguments[5] is true)
            mask = ones(query.shape[^2], key.shape[^2], ScalarType.Bool, run.IsTraced ? CPU : query.device).tril(); // a tracer's tensors may have no values; the mask has
        var scores = run.Call(TorchOps.MatMul, call, query, run.Call(TorchOps.Transpose, call, key, -2L, -1L));
        scores = run.Call(TorchOps.DivideNumber, call, scores, (Scalar)Math.Sqrt(query.shape[^1]), RoundingMode.None);
        if (mask is { dtype: ScalarType.Bool })
            scores = run.Call(TorchOps.MaskedFill, call, scores, run.Call(TorchOps.Not, call, mask), (Scalar)double.NegativeInfinity);
        else if (mask is not null)
            scores = run.Call(TorchOps.Add, call, scores, mask);
        var weights = run.Call(TorchOps.Softmax, call, scores, -1L, null);
        if (call.Arguments[4] is double and > 0 and var dropout)
            weights = run.Call(TorchOps.Dropout, call, weights, dropout, true, false);
        return run.Call(TorchOps.MatMul, call, weights, value).MoveToOuterDisposeScope();
    }

    /// <summary>addmm and addmv: β·input + α·(a·b).</summary>
    internal static object? AddProduct(OdmlRun run, in OpCall call, OdmlOp op, string name) => AddTo(run, call, 0, 1, 2);

    /// <summary>TorchSharp's <c>a.baddbmm(b, c)</c> is β·c + α·(a·b), unlike PyTorch's, whose input comes first.</summary>
    internal static object? AddBatched(OdmlRun run, in OpCall call, OdmlOp op, string name) => AddTo(run, call, 2, 0, 1);

    private static Tensor AddTo(OdmlRun run, in OpCall call, int input, int a, int b)
    {
        using var scope = NewDisposeScope();
        float beta = (float)call.Arguments[3]!, alpha = (float)call.Arguments[4]!;
        var product = run.Call(TorchOps.MatMul, call, call.Arguments[a], call.Arguments[b]);
        if (alpha != 1)
            product = run.Call(TorchOps.MultiplyNumber, call, product, (Scalar)alpha);
        var addend = Arguments.Tensor(call, input);
        if (beta != 1)
            addend = run.Call(TorchOps.MultiplyNumber, call, addend, (Scalar)beta);
        return Delivered(run, call, run.Call(TorchOps.Add, call, product, addend));
    }

    /// <summary>input + value · a · b.</summary>
    internal static object? AddMultiplied(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        using var scope = NewDisposeScope();
        return AddScaled(run, call, run.Call(TorchOps.Multiply, call, call.Arguments[1], call.Arguments[2]));
    }

    /// <summary>input + value · a ÷ b.</summary>
    internal static object? AddDivided(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        using var scope = NewDisposeScope();
        return AddScaled(run, call, run.Call(TorchOps.Divide, call, call.Arguments[1], call.Arguments[2], RoundingMode.None));
    }

    /// <summary>Linear interpolation: start + weight · (end − start).</summary>
    internal static object? Interpolate(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        using var scope = NewDisposeScope();
        var difference = run.Call(TorchOps.Subtract, call, call.Arguments[1], call.Arguments[0]);
        return Delivered(run, call, run.Call(TorchOps.Add, call, call.Arguments[0], run.Call(TorchOps.Multiply, call, difference, call.Arguments[2])));
    }

    /// <summary>Several tensors in the shape that they broadcast to; each keeps its range.</summary>
    internal static object? Broadcast(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        var tensors = (Tensor[])call.Arguments[0]!;
        long[] shape = broadcast_shapes([.. tensors.Select(t => t.shape)]).Shape;
        var expanded = new Tensor[tensors.Length];
        for (int i = 0; i < tensors.Length; i++)
            expanded[i] = run.Call(TorchOps.Expand, call, tensors[i], shape, false);
        return expanded;
    }

    private static Tensor AddScaled(OdmlRun run, in OpCall call, Tensor term)
    {
        if (DeviceKernels.Number(Arguments.Named(call, "value")) is not (null or 1) and { } value)
            term = run.Call(TorchOps.MultiplyNumber, call, term, (Scalar)value);
        return Delivered(run, call, run.Call(TorchOps.Add, call, call.Arguments[0], term));
    }

    /// <summary>A result as the model gets it, beyond the scope: written over the first argument where the op is in place.</summary>
    private static Tensor Delivered(OdmlRun run, in OpCall call, Tensor result)
    {
        if (!OpNaming.IsInPlace(call))
            return result.MoveToOuterDisposeScope();
        var receiver = Arguments.Tensor(call, 0);
        run.Execute(call, TorchOps.Copy, [receiver, result, false]);
        var tag = run.Tags[result]!;
        bool returnsReceiver = call.Op.Method.DeclaringType == typeof(Tensor);
        result = returnsReceiver ? receiver : ((Tensor)run.Execute(call, TorchOps.Alias, [receiver])!).MoveToOuterDisposeScope();
        run.Tags[result] = tag;
        return result;
    }
}
