namespace QwixSharp.Kernels.Weights;

/// <summary>The scales of some panels of a weight in a format that a kernel reads.</summary>
internal readonly unsafe struct PanelScales
{
    /// <summary>[tile][16] scales of the first panel.</summary>
    public byte* Stored { get; private init; }

    /// <summary>The distance to the next panel's.</summary>
    public nint PanelBytes { get; private init; }

    /// <summary>Their format.</summary>
    public FloatFormat Format { get; private init; }

    /// <summary>The scales where they are stored, or widened to float32.</summary>
    /// <param name="weight">The weight.</param>
    /// <param name="panel">The first panel.</param>
    /// <param name="panels">How many panels.</param>
    /// <param name="readsNarrow">Whether the kernel reads scales of 16 bits.</param>
    /// <param name="room">Takes widened scales; as many float32 as there are scales.</param>
    public static PanelScales Of(PackedWeight weight, int panel, int panels, bool readsNarrow, float* room)
    {
        if (readsNarrow || weight.ScaleFormat == FloatFormat.Float32)
            return new PanelScales { Stored = weight.StoredScales(panel), PanelBytes = weight.PanelScaleBytes, Format = weight.ScaleFormat };
        FloatConversion.Widen((ushort*)weight.StoredScales(panel), weight.ScaleFormat, (long)panels * weight.Tiles * PackedWeight.PanelColumns, room);
        return new PanelScales { Stored = (byte*)room, PanelBytes = (nint)weight.Tiles * PackedWeight.PanelColumns * sizeof(float), Format = FloatFormat.Float32 };
    }
}
