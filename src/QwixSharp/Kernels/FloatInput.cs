namespace QwixSharp.Kernels;

/// <summary>Floating-point activations x [M, K].</summary>
/// <param name="Values">The numbers.</param>
/// <param name="RowStride">The distance from one row to the next, in elements.</param>
/// <param name="Rows">M.</param>
/// <param name="Format">Their format.</param>
internal readonly unsafe record struct FloatInput(nint Values, long RowStride, int Rows, FloatFormat Format = FloatFormat.Float32)
{
    /// <summary>Part of a row as float32: where it lies, or converted into a buffer.</summary>
    /// <param name="row">m.</param>
    /// <param name="first">The first k.</param>
    /// <param name="count">How many.</param>
    /// <param name="buffer">Room for as many; not used for float32.</param>
    public float* Read(int row, long first, long count, float* buffer)
    {
        var index = row * RowStride + first;
        if (Format == FloatFormat.Float32)
            return (float*)Values + index;
        FloatConversion.Widen((ushort*)Values + index, Format, count, buffer);
        return buffer;
    }
}
