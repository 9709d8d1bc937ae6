using System.Runtime.InteropServices;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What a kernel of <see cref="SumsEmitter"/> works on. Assembled code reads the fields by their offsets.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct SumsArgs
{
    /// <summary>[step][16] words of 32 bits: what a step multiplies of each column.</summary>
    public byte* Weights;

    /// <summary>The first row's word of the first step.</summary>
    public byte* Activations;

    /// <summary>From a row's word of one step to that of the next, in bytes.</summary>
    public nint StepBytes;

    /// <summary>How many steps; even.</summary>
    public nint Steps;

    /// <summary>[row][16] sums, int32 or, of floats, float32; added to but for those of segments.</summary>
    public void* Sums;

    /// <summary>Of segments: their distances from <see cref="Activations"/>.</summary>
    public nint* Segments;

    /// <summary>Of segments: how many, of <see cref="Steps"/> each, whose weights follow each other.</summary>
    public nint SegmentCount;

    /// <summary>Of segments: where the sums of all rows begin, one a column.</summary>
    public int* Start;

    /// <summary>Where the packed weight goes on, to be read ahead by <see cref="SumsCode.RunBlock"/>.</summary>
    public byte* Ahead;

    /// <summary>How much of it; 0 for none.</summary>
    public nint AheadBytes;

    /// <summary>Room to keep registers that the caller's convention preserves.</summary>
    public IntegerTileArgs.SaveArea Saved;
}
