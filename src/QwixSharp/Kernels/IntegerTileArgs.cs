using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace QwixSharp.Kernels;

/// <summary>
/// What an integer kernel works on: a block of rows of the activations and one or more panels of the weight.
/// Assembled code reads the fields by their offsets.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct IntegerTileArgs
{
    /// <summary>The block of rows in the kernel's <see cref="Activations.ActivationForm"/>.</summary>
    public byte* Activations;

    /// <summary>The codes of the first panel.</summary>
    public byte* Weights;

    /// <summary>The distance to the next panel's codes.</summary>
    public nint PanelBytes;

    /// <summary>The number of tiles.</summary>
    public nint Tiles;

    /// <summary>Groups of 64 bytes of a panel in one tile.</summary>
    public nint Groups;

    /// <summary>[tile][row]: where each sum of a tile starts (takes out what was added to the weight's codes).</summary>
    public int* Start;

    /// <summary>[tile][16] scales of the first panel, float32 unless <see cref="ScaleFormat"/> says otherwise.</summary>
    public float* WeightScales;

    /// <summary>The distance to the next panel's scales.</summary>
    public nint PanelScaleBytes;

    /// <summary>[tile][row] scales of the activations.</summary>
    public float* ActivationScales;

    /// <summary>[panel][row][16]: int32 sums of the one tile, or float32 sums of all scaled tiles.</summary>
    public void* Result;

    /// <summary>The first panel's <see cref="Weights.ClippedPairs.Of"/>; null but for a kernel that <see cref="IntegerKernel.Serves"/> weights that have them.</summary>
    public uint** Clips;

    /// <summary>How the weight's scales are stored; float32 for a kernel that does not read others.</summary>
    public FloatFormat ScaleFormat;

    /// <summary>Room for an assembled kernel to keep registers that the caller's convention preserves.</summary>
    public SaveArea Saved;

    /// <summary>Ten 128-bit registers.</summary>
    [InlineArray(20)]
    internal struct SaveArea
    {
        private ulong _first;
    }
}
