namespace QwixSharp.Kernels.Convolutions;

/// <summary>A panel of 16 output channels as a <see cref="WindowKernel"/> wants it.</summary>
internal unsafe struct PreparedPanel
{
    /// <summary>The codes, in a layout of the kernel's own.</summary>
    public sbyte* Codes;

    /// <summary>Of <see cref="ClippedPanels"/>: [rest] distances from a window's first code to the four that a rest is multiplied with.</summary>
    public nint* RestPlaces;

    /// <summary>[rest][8][4] what was clipped off eight channels; those of the first eight come first.</summary>
    public sbyte* Rests;

    /// <summary>The rests of the first eight channels.</summary>
    public nint FirstRests;

    /// <summary>The rests of the other eight.</summary>
    public nint OtherRests;
}
