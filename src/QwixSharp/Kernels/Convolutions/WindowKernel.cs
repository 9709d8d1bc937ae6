namespace QwixSharp.Kernels.Convolutions;

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

    /// <summary>The most windows of one call.</summary>
    public abstract int MostWindows { get; }

    /// <summary>How many panels one call takes at most.</summary>
    /// <param name="windows">The windows of the call.</param>
    public abstract int MostPanels(int windows);

    /// <summary>Sums up some windows.</summary>
    /// <param name="args">The operands.</param>
    /// <param name="windows">How many windows.</param>
    /// <param name="panels">How many panels.</param>
    /// <param name="step">The distance from one window to the next, in bytes.</param>
    public abstract void Run(WindowArgs* args, int windows, int panels, int step);
}
