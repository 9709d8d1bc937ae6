namespace QwixSharp.Interception.Deferred;

/// <summary>What a deferred op computes, whichever of TorchSharp's spellings the model used.</summary>
internal enum OpKind
{
    /// <summary>a + b, or a + number.</summary>
    Add,

    /// <summary>a − b, or a − number.</summary>
    Subtract,

    /// <summary>a · b, or a · number.</summary>
    Multiply,

    /// <summary>a ÷ b, a ÷ number, or number ÷ b.</summary>
    Divide,

    /// <summary>−a.</summary>
    Negate,

    /// <summary>a to the power of a number.</summary>
    Power,

    /// <summary>√a.</summary>
    SquareRoot,

    /// <summary>1 ÷ √a.</summary>
    ReciprocalSquareRoot,

    /// <summary>1 ÷ a.</summary>
    Reciprocal,

    /// <summary>1 ÷ (1 + e⁻ᵃ).</summary>
    Sigmoid,

    /// <summary>a · sigmoid(a).</summary>
    Silu,

    /// <summary>min(max(a, lower bound), upper bound), either of which may be infinite: ReLU and ReLU6 too.</summary>
    Clamp,

    /// <summary>min(max(a + 3, 0), 6) ÷ 6.</summary>
    HardSigmoid,

    /// <summary>a · min(max(a + 3, 0), 6) ÷ 6.</summary>
    HardSwish,

    /// <summary>a · Φ(a), exactly.</summary>
    Gelu,

    /// <summary>The mean along axes.</summary>
    Mean,

    /// <summary>Tensors side by side along an axis.</summary>
    Concatenate,

    /// <summary>A part of an axis: narrow, chunk.</summary>
    Part,

    /// <summary>The same elements in another shape, in row-major order.</summary>
    Reshape,

    /// <summary>Two axes exchanged.</summary>
    Transpose,

    /// <summary>Layer norm along the last axes.</summary>
    LayerNorm,

    /// <summary>Batch norm with running statistics; deferred only where the interceptor says so.</summary>
    BatchNorm,

    /// <summary>A linear layer; deferred only where the interceptor says so.</summary>
    Linear,

    /// <summary>A convolution of images; deferred only where the interceptor says so.</summary>
    Convolution,

    /// <summary>A product of matrices, in batches; deferred only where the interceptor says so.</summary>
    MatMul,

    /// <summary>The softmax along an axis.</summary>
    Softmax,

    /// <summary>Each part of an axis several times, one after the other.</summary>
    Repeat,

    /// <summary>Scaled dot-product attention; deferred only where the interceptor says so.</summary>
    Attention,

    /// <summary>The largest value of each window of an image; deferred only where the interceptor says so.</summary>
    MaxPool,

    /// <summary>A copy over a tensor that has a value: it is made at once, but what it copies need not become a tensor for it.</summary>
    Copy,

    /// <summary>The mean over an image; deferred only where the interceptor says so.</summary>
    AveragePool,
}
