namespace QwixSharp.Kernels.Convolutions;

/// <summary>What calls of a <see cref="WindowKernel"/> have in common.</summary>
/// <param name="Windows">How many windows.</param>
/// <param name="Panels">How many panels.</param>
/// <param name="Step">The distance from one window to the next, in bytes.</param>
/// <param name="Groups">Groups of four codes in a segment.</param>
/// <param name="PixelBytes">The distance from one pixel to the next, in bytes.</param>
/// <param name="Taps">The kernel's columns.</param>
internal readonly record struct WindowCall(int Windows, int Panels, int Step, int Groups, int PixelBytes, int Taps);

/// <summary>
/// The inner loops of convolutions of unsigned codes, for one instruction set: sums of some windows, read where they lie in the
/// image. Exact: every sum is that of all products modulo 2^32.
/// </summary>
internal abstract unsafe class WindowKernel
{
    /// <summary>The kernel's name in traces.</summary>
    public abstract string Name { get; }

    /// <summary>Whether this machine can run it.</summary>
    public abstract bool IsSupported { get; }

    /// <summary>Whether it serves all weights and images. One that does not is chosen before one that does.</summary>
    public virtual bool IsGeneral => true;

    /// <summary>Whether it serves a weight; see <see cref="IsGeneral"/>.</summary>
    /// <param name="weight">The weight.</param>
    /// <param name="isNarrow">Whether images are <see cref="ConvolutionInput.IsNarrow"/>.</param>
    public virtual bool Serves(SegmentedWeight weight, bool isNarrow) => true;

    /// <summary>Whether codes of an image come as 16-bit words.</summary>
    public virtual bool TakesWords => false;

    /// <summary>
    /// Whether each channel of the image has a kernel of its own: a panel reads the 16 channels that it gives, also where the image has
    /// fewer, and its codes are [row of the kernel][four columns][16][4].
    /// </summary>
    public virtual bool IsDepthwise => false;

    /// <summary>The kernel for depthwise convolutions on such machines, or null where there is none.</summary>
    public virtual WindowKernel? Depthwise => null;

    /// <summary>The most windows of one call.</summary>
    public abstract int MostWindows { get; }

    /// <summary>How many panels one call takes at most.</summary>
    /// <param name="windows">The windows of the call.</param>
    public abstract int MostPanels(int windows);

    /// <summary>The room that <see cref="Prepare"/> needs for a panel; 0 where panels are read as the weight has them.</summary>
    /// <param name="weight">The weight.</param>
    public virtual long PanelRoom(SegmentedWeight weight) => 0;

    /// <summary>Brings a panel into the form that calls take.</summary>
    /// <param name="weight">The weight.</param>
    /// <param name="place">The panel among those of all groups.</param>
    /// <param name="segments">[segment] distances from a window's first code to its segments.</param>
    /// <param name="room">As much as <see cref="PanelRoom"/> says.</param>
    public virtual PreparedPanel Prepare(SegmentedWeight weight, int place, nint* segments, byte* room) => new() { Codes = weight.Codes + place * weight.PanelBytes };

    /// <summary>[panel of all groups][16] what sums begin with besides what makes codes unsigned, or null.</summary>
    /// <param name="weight">The weight.</param>
    public virtual int* Start(SegmentedWeight weight) => null;

    /// <summary>What there is to find out once for all calls of a kind.</summary>
    /// <param name="call">The calls.</param>
    /// <returns>To be passed to <see cref="Run"/>.</returns>
    public virtual nint Find(in WindowCall call) => 0;

    /// <summary>Sums up some windows.</summary>
    /// <param name="args">The operands.</param>
    /// <param name="call">The windows.</param>
    /// <param name="found">What <see cref="Find"/> gave for such calls.</param>
    public abstract void Run(WindowArgs* args, in WindowCall call, nint found);
}
