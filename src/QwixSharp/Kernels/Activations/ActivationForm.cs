namespace QwixSharp.Kernels.Activations;

/// <summary>How a block of quantized rows lies in memory for a kernel.</summary>
internal enum ActivationForm
{
    /// <summary>[K/4][rows][4] signed bytes.</summary>
    Bytes,

    /// <summary>[K/2][rows][2] 16-bit words, of each four values k and k+2 before k+1 and k+3: the pairs that meet even and odd bytes of a weight.</summary>
    Words,

    /// <summary>[K/4][rows][4] unsigned bytes, each 127 − code.</summary>
    Complements,

    /// <summary>
    /// Segments of K, of up to 64 values and within a tile: [1 + K/4][rows][4] signed bytes, of which the first word of a row is two 16-bit words: 8 times the sums
    /// of its bytes 0 and 1, and 2 and 3, of each four.
    /// </summary>
    Segments,
}
