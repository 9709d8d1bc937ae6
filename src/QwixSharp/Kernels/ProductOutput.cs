namespace QwixSharp.Kernels;

/// <summary>Where a product goes, and what is done to it on the way.</summary>
/// <param name="Values">y [M, N]; must not overlap the inputs.</param>
/// <param name="RowStride">The distance from one row of y to the next, in elements.</param>
/// <param name="Bias">[N], or null.</param>
/// <param name="Activation">Applied last.</param>
/// <param name="ColumnStride">The distance from one column of y to the next, in elements.</param>
/// <param name="Format">The format of y.</param>
internal readonly unsafe record struct ProductOutput(nint Values, long RowStride, nint Bias = 0, FusedActivation Activation = FusedActivation.None, long ColumnStride = 1, FloatFormat Format = FloatFormat.Float32)
{
    /// <summary>One element's address in y of float32.</summary>
    /// <param name="row">m.</param>
    /// <param name="column">n.</param>
    public float* At(long row, long column) => (float*)Values + row * RowStride + column * ColumnStride;

    /// <summary>One element's address in y of a format of two bytes.</summary>
    /// <param name="row">m.</param>
    /// <param name="column">n.</param>
    public ushort* NarrowAt(long row, long column) => (ushort*)Values + row * RowStride + column * ColumnStride;

    /// <summary>The bias from one column on, or null.</summary>
    /// <param name="column">n.</param>
    public float* BiasAt(int column) => Bias == 0 ? null : (float*)Bias + column;
}
