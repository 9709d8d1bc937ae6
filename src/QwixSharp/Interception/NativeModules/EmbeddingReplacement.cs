using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>Embedding: a selection of rows.</summary>
/// <remarks>
/// With <c>max_norm</c> the table is rewritten by each lookup, and with <c>sparse</c> its gradient has another layout;
/// neither can be said in single ops. Such a module is run natively, with <c>sparse</c> only while gradients are recorded.
/// </remarks>
internal static class EmbeddingReplacement
{
    internal static Tensor Forward(Embedding module, Tensor input)
    {
        var options = EmbeddingOptions.Of(module);
        if (options.MustRunNatively) return options.RunNatively(module, input);
        var weight = options.Weight;
        using var scope = NewDisposeScope();
        var indices = input.reshape(-1).to(ScalarType.Int64);
        var rows = weight.index_select(0, indices);
        if (is_grad_enabled() && weight.requires_grad) rows = EmbeddingGradient.Shape(rows, indices, weight.shape[0], options.Gradient);
        long[] shape = [.. input.shape, rows.shape[1]];
        return rows.view(shape).MoveToOuterDisposeScope();
    }
}
