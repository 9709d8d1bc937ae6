namespace QwixSharp.Kernels;

/// <summary>Where a product goes, and what is done to it on the way.</summary>
/// <param name="Values">y [M, N], float32; must not overlap the inputs.</param>
/// <param name="RowStride">The distance from one row of y to the next, in elements.</param>
/// <param name="Bias">[N], or null.</param>
/// <param name="Activation">Applied last.</param>
/// <param name="ColumnStride">The distance from one column of y to the next, in elements.</param>
internal readonly unsafe record struct ProductOutput(nint Values, long RowStride, nint Bias = 0, FusedActivation Activation = FusedActivation.None, long ColumnStride = 1)
{
    /// <summary>One element's address.</summary>
    /// <param name="row">m.</param>
    /// <param name="column">n.</param>
    public float* At(long row, long column) => (float*)Values + row * RowStride + column * ColumnStride;

    /// <summary>The bias from one column on, or null.</summary>
    /// <param name="column">n.</param>
    public float* BiasAt(int column) => Bias == 0 ? null : (float*)Bias + column;
}
