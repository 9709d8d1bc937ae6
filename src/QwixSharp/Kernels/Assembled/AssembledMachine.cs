using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Assembled;

/// <summary>Whether this process may run assembled kernels, and which instructions they may use.</summary>
internal static unsafe class AssembledMachine
{
    /// <summary>
    /// Whether code can be assembled and run: a 64-bit x86 process with AVX2 and FMA whose system lets memory be made
    /// executable, and <c>QWIXSHARP_ASSEMBLED</c> is not 0.
    /// </summary>
    public static bool IsAvailable { get; } = FindOut();

    /// <summary>Whether it may use AVX-512 BW.</summary>
    public static bool HasAvx512 { get; } = IsAvailable && Avx512BW.IsSupported;

    /// <summary>Whether the processor has <c>vpdpbusd</c> on 512-bit registers (CPUID leaf 7, ECX bit 11).</summary>
    public static bool HasVnni { get; } = HasAvx512 && (X86Base.CpuId(7, 0).Ecx & 1 << 11) != 0;

    private static bool FindOut()
    {
        if (Environment.GetEnvironmentVariable("QWIXSHARP_ASSEMBLED") == "0")
            return false;
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64 || !Avx2.IsSupported || !Fma.IsSupported)
            return false;
        // mov eax, 42; ret
        using var probe = ExecutableMemory.TryMap([0xB8, 42, 0, 0, 0, 0xC3]);
        return probe is not null && ((delegate* unmanaged<int>)probe.Entry)() == 42;
    }
}
