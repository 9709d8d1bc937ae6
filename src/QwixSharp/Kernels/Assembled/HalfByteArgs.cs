using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What a kernel of <see cref="HalfByteEmitter"/> works on. Assembled code reads the fields by their offsets.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct HalfByteArgs
{
    /// <summary>[step][16][4] codes 0 … 15, one a byte.</summary>
    public byte* Weights;

    /// <summary>The rows in the form <see cref="Activations.ActivationForm.Segments"/>.</summary>
    public byte* Activations;

    /// <summary>[row][16], added to: sums as int32 or, of tiles, as scaled float32.</summary>
    public void* Sums;

    /// <summary>Unless tiles are scaled: how many steps; even.</summary>
    public nint Steps;

    /// <summary>Of tiles: how many.</summary>
    public nint Tiles;

    /// <summary>Of tiles: [tile][16] scales of the weight.</summary>
    public float* WeightScales;

    /// <summary>Of tiles: the rows' scales for the first.</summary>
    public float* ActivationScales;

    /// <summary>From one tile's scales of rows to the next one's.</summary>
    public nint TileBytes;

    /// <summary>Room for the sums of a tile's segments.</summary>
    public PartialSums Partial;

    /// <summary>Room to keep registers that the caller's convention preserves.</summary>
    public IntegerTileArgs.SaveArea Saved;

    /// <summary>[row][16] int32.</summary>
    [InlineArray(HalfByteEmitter.MostRows * 16)]
    internal struct PartialSums
    {
        private int _first;
    }
}
