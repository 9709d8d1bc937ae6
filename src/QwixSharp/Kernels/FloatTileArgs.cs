using System.Runtime.InteropServices;

namespace QwixSharp.Kernels;

/// <summary>
/// What a weight-only kernel works on: a block of float32 rows and one or two panels of the weight. Assembled code reads the fields
/// by their offsets.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct FloatTileArgs
{
    /// <summary>[K][row] float32 activations of the block, K padded as the weight's.</summary>
    public float* Activations;

    /// <summary>The codes of the first panel.</summary>
    public byte* Weights;

    /// <summary>The distance to the next panel's codes.</summary>
    public nint PanelBytes;

    /// <summary>The number of tiles.</summary>
    public nint Tiles;

    /// <summary>Groups of 64 bytes of the panel in one tile.</summary>
    public nint Groups;

    /// <summary>[tile][16] scales of the first panel, float32 unless <see cref="ScaleFormat"/> says otherwise.</summary>
    public float* WeightScales;

    /// <summary>The distance to the next panel's scales.</summary>
    public nint PanelScaleBytes;

    /// <summary>The numbers that codes stand for, or null when the code is the number.</summary>
    public float* Table;

    /// <summary>[panel][row][16] float32 sums of all scaled tiles.</summary>
    public float* Result;

    /// <summary>How the weight's scales are stored; float32 for a kernel that does not read others.</summary>
    public FloatFormat ScaleFormat;

    /// <summary>Room for an assembled kernel to keep registers that the caller's convention preserves.</summary>
    public IntegerTileArgs.SaveArea Saved;
}
