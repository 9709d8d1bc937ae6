using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Weights;

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

    /// <summary>
    /// Fetches where a block of the result will go while it is computed: nothing has been written there, and its rows are too far apart
    /// for the processor to foresee. Only for adjacent columns of float32.
    /// </summary>
    /// <param name="row">The first m.</param>
    /// <param name="column">The first n.</param>
    /// <param name="rows">The rows of the block.</param>
    /// <param name="panels">How many panels of columns.</param>
    public void Prefetch(int row, int column, int rows, int panels)
    {
        if (!Sse.IsSupported || ColumnStride != 1 || Format != FloatFormat.Float32)
            return;
        var target = At(row, column);
        for (var i = 0; i < rows; i++, target += RowStride)
            for (var panel = 0; panel < panels; panel++)
                Sse.Prefetch0(target + panel * PackedWeight.PanelColumns);
    }
}
