namespace QwixSharp.Providers.Odml;

/// <summary>What becomes of the ranges at each op that the on-device modes know, by the names of <see cref="OpNaming"/>.</summary>
internal static class OdmlOpTable
{
    /// <summary>The name of a model's result in rules and statistics.</summary>
    internal const string FinalOutput = "final_output";

    internal static readonly IReadOnlyDictionary<string, OdmlOp> Ops = Build();

    private static Dictionary<string, OdmlOp> Build()
    {
        var ops = new Dictionary<string, OdmlOp>();
        Add(Product(ProductHandlers.Linear), "linear");
        Add(Product(ProductHandlers.MatMul), "matmul", "mm", "bmm", "mv", "dot");
        Add(Product(ProductHandlers.Inner), "inner");
        Add(Product(ProductHandlers.Einsum), "einsum");
        Add(Product(ProductHandlers.Convolution), "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d");

        Add(new(Decompositions.AddProduct), "addmm", "addmv");
        Add(new(Decompositions.AddBatched), "baddbmm");
        Add(new(Decompositions.AddMultiplied), "addcmul");
        Add(new(Decompositions.AddDivided), "addcdiv");
        Add(new(Decompositions.Interpolate), "lerp");
        Add(new(Decompositions.Attention), "scaled_dot_product_attention");
        Add(new(Decompositions.Silu), "silu");
        Add(new(Decompositions.Glu), "glu");

        Add(new(RangeHandlers.Arithmetic, 2), "add", "sub", "mul", "div");
        Add(new(RangeHandlers.Arithmetic), "neg");
        Add(OdmlOp.Quantized(2), "maximum", "minimum", "pow");
        Add(OdmlOp.Quantized(), "abs", "exp", "log", "rsqrt", "mean", "sum", "gelu", "leaky_relu", "prelu", "elu", "hardswish", "hardsigmoid",
            "layer_norm", "group_norm", "instance_norm", "softplus", "mish", "selu", "celu", "log2", "log10", "logsigmoid", "var", "std", "norm", "logsumexp");
        Add(new(RangeHandlers.BatchNorm), "batch_norm");
        Add(OdmlOp.FixedRange(OpRanges.Sigmoid.Min, OpRanges.Sigmoid.Max), "softmax", "sigmoid");
        Add(OdmlOp.FixedRange(OpRanges.Tanh.Min, OpRanges.Tanh.Max), "tanh", "normalize");
        Add(OdmlOp.FixedRange(OpRanges.LogSoftmax.Min, OpRanges.LogSoftmax.Max), "log_softmax");

        Add(OdmlOp.SharesInput, "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
            "amax", "amin", "max", "min", "topk", "sort", "upsample_nearest", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d");
        Add(new(RangeHandlers.AveragesInput), "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
            "interpolate", "upsample", "upsample_bilinear");
        Add(OdmlOp.SharesOutput, "relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "pad", "floor", "ceil", "round");
        Add(new(Masks.Choose), "where", "masked_fill");
        Add(OdmlOp.MovesData, "view", "view_as", "reshape", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze", "permute", "transpose", "t", "get_T", "get_mT", "get_H",
            "atleast_1d", "atleast_2d", "atleast_3d", "swapaxes", "swapdims", "movedim", "moveaxis", "adjoint", "expand", "expand_as", "broadcast_to", "repeat", "repeat_interleave", "tile",
            "contiguous", "clone", "alias", "detach", "requires_grad", "to", "to_type", "type", "type_as", "float", "half", "bfloat16", "int", "long", "bool", "cpu", "cuda",
            "narrow", "slice", "select", "diagonal", "chunk", "split", "tensor_split", "hsplit", "vsplit", "dsplit", "unbind",
            "flip", "fliplr", "flipud", "roll", "rot90", "tril", "triu", "unfold", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
            "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "copy");
        Add(new(Decompositions.Broadcast), "broadcast_tensors");
        Add(new(JoinHandlers.Concatenate), "cat", "stack", "hstack", "vstack", "dstack", "row_stack", "column_stack");
        Add(new(JoinHandlers.Take), "index_select", "gather", "take", "take_along_dim");
        Add(new(JoinHandlers.Index), "index");

        Add(OdmlOp.FloatingPoint, "sin", "cos", "tan", "sqrt", "square", "reciprocal", "sign", "erf", "prod", "cumsum", "cumprod", "local_response_norm", "remainder", "floor_divide",
            "eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "isfinite", "argmax", "argmin", "argsort", "any", "all", "one_hot",
            "logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not");
        Add(new(RangeHandlers.Creates), "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "new_zeros", "new_ones", "new_full", "new_empty", "zero", "fill");
        return ops;

        void Add(OdmlOp op, params ReadOnlySpan<string> names)
        {
            foreach (var name in names)
                ops.Add(name, op);
        }

        // A product tells a left side that was lost on the way, which has no tag.
        static OdmlOp Product(OdmlHandler handler) => new(handler) { SeesConstants = true };
    }
}
