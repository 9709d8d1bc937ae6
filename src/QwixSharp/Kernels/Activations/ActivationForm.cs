namespace QwixSharp.Kernels.Activations;

/// <summary>How a block of quantized rows lies in memory for a kernel.</summary>
internal enum ActivationForm
{
    /// <summary>[K/4][rows][4] signed bytes.</summary>
    Bytes,

    /// <summary>[K/4][rows][4] 16-bit words in the order k, k+2, k+1, k+3: the pairs that meet even and odd bytes of a weight.</summary>
    Words,
}
