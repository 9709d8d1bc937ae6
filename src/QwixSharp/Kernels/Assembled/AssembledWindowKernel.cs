using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Kernels.Assembled;

/// <summary>Convolutions with AVX-512 code assembled at run time, with <c>vpdpbusd</c> or its stand-in.</summary>
/// <param name="useVnni">Whether to use <c>vpdpbusd</c> or the stand-in.</param>
internal sealed unsafe class AssembledWindowKernel(bool useVnni) : WindowKernel
{
    private static readonly CodeCache<WindowShape> Code = new(WindowEmitter.Emit);

    /// <inheritdoc/>
    public override string Name => useVnni ? "avx512-vnni (assembled)" : "avx512-bw (assembled)";

    /// <inheritdoc/>
    public override bool IsSupported => useVnni ? AssembledMachine.HasVnni : AssembledMachine.HasAvx512;

    /// <inheritdoc/>
    public override WindowKernel? Depthwise => new AssembledDepthwiseKernel(useVnni);

    /// <inheritdoc/>
    public override int MostWindows => useVnni ? 14 : 12;

    /// <inheritdoc/>
    public override int MostPanels(int windows) => windows <= (useVnni ? 7 : 5) ? 4 : 2;

    /// <inheritdoc/>
    public override nint Find(in WindowCall call)
    {
        var unroll = call.Groups % 4 == 0 ? 4 : call.Groups % 3 == 0 ? 3 : call.Groups % 2 == 0 ? 2 : 1;
        return (nint)Code.Get(new WindowShape(call.Windows, call.Panels, unroll, call.Step, useVnni, OperatingSystem.IsWindows()));
    }

    /// <inheritdoc/>
    public override void Run(WindowArgs* args, in WindowCall call, nint found) =>
        ((delegate* unmanaged[SuppressGCTransition]<WindowArgs*, void>)found)(args);
}
