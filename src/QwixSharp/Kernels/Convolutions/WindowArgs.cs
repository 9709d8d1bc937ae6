using System.Runtime.InteropServices;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>
/// What a <see cref="WindowKernel"/> works on: windows of an image that lie side by side, and one or more panels of the weight.
/// Assembled code reads the fields by their offsets.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct WindowArgs
{
    /// <summary>The first window's first code: unsigned codes, channels last.</summary>
    public byte* Image;

    /// <summary>[segment] distances from a window's first code to its segments: runs of codes that lie side by side.</summary>
    public nint* Segments;

    /// <summary>How many segments.</summary>
    public nint SegmentCount;

    /// <summary>Groups of four codes in a segment.</summary>
    public nint Groups;

    /// <summary>The codes of the first panel: [segment][group][16][4] signed, or as a <see cref="PreparedPanel"/> has them.</summary>
    public sbyte* Weights;

    /// <summary>Where kernels prepare panels: the panel.</summary>
    public PreparedPanel* Panel;

    /// <summary>The distance to the next panel's codes.</summary>
    public nint PanelBytes;

    /// <summary>[panel][16]: where sums start.</summary>
    public int* Start;

    /// <summary>[panel][window][16] sums, the result.</summary>
    public int* Sums;

    /// <summary>Room for an assembled kernel to keep registers that the caller's convention preserves.</summary>
    public IntegerTileArgs.SaveArea Saved;
}
