using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Kernels.Assembled;

/// <summary>Depthwise convolutions with AVX-512 code assembled at run time, with <c>vpdpbusd</c> or its stand-in.</summary>
/// <param name="useVnni">Whether to use <c>vpdpbusd</c> or the stand-in.</param>
internal sealed unsafe class AssembledDepthwiseKernel(bool useVnni) : WindowKernel
{
    private static readonly CodeCache<DepthwiseShape> Code = new(DepthwiseEmitter.Emit);

    /// <inheritdoc/>
    public override string Name => useVnni ? "depthwise avx512-vnni (assembled)" : "depthwise avx512-bw (assembled)";

    /// <inheritdoc/>
    public override bool IsSupported => useVnni ? AssembledMachine.HasVnni : AssembledMachine.HasAvx512;

    /// <inheritdoc/>
    public override bool IsDepthwise => true;

    /// <inheritdoc/>
    public override int MostWindows => 14;

    /// <inheritdoc/>
    public override int MostPanels(int windows) => 1;

    /// <inheritdoc/>
    public override nint Find(in WindowCall call) =>
        (nint)Code.Get(new DepthwiseShape(call.Windows, call.Step / call.PixelBytes, call.Taps, call.PixelBytes, useVnni, OperatingSystem.IsWindows()));

    /// <inheritdoc/>
    public override void Run(WindowArgs* args, in WindowCall call, nint found) =>
        ((delegate* unmanaged[SuppressGCTransition]<WindowArgs*, void>)found)(args);
}
