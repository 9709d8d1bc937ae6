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
    public override bool IsSupported => useVnni ? AssembledMachine.HasVnni : AssembledMachine.IsAvailable;

    /// <inheritdoc/>
    public override int MostWindows => useVnni ? 14 : 12;

    /// <inheritdoc/>
    public override int MostPanels(int windows) => windows <= (useVnni ? 7 : 5) ? 4 : 2;

    /// <inheritdoc/>
    public override void Run(WindowArgs* args, int windows, int panels, int step)
    {
        var unroll = args->Groups % 4 == 0 ? 4 : args->Groups % 3 == 0 ? 3 : args->Groups % 2 == 0 ? 2 : 1;
        var shape = new WindowShape(windows, panels, unroll, step, useVnni, OperatingSystem.IsWindows());
        ((delegate* unmanaged[SuppressGCTransition]<WindowArgs*, void>)Code.Get(shape))(args);
    }
}
