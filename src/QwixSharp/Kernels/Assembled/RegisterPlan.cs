using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>
/// Hands out the 512-bit registers of a kernel and keeps what the caller's convention wants kept.
/// </summary>
/// <remarks>
/// Every kernel is a leaf function of one argument, a pointer to its args, which it moves to rax. It uses only rax, rcx, rdx
/// and r8 … r11 besides, which both the System V and the Windows convention let it change. Windows wants xmm6 … xmm15
/// preserved: they are handed out last, and saved in the args rather than on the stack.
/// </remarks>
internal sealed class RegisterPlan(Assembler c, bool isWindows)
{
    private const int FirstPreserved = 22;

    private static readonly AssemblerRegisterZMM[] Order =
    [
        zmm16, zmm17, zmm18, zmm19, zmm20, zmm21, zmm22, zmm23, zmm24, zmm25, zmm26, zmm27, zmm28, zmm29, zmm30, zmm31,
        zmm0, zmm1, zmm2, zmm3, zmm4, zmm5, zmm6, zmm7, zmm8, zmm9, zmm10, zmm11, zmm12, zmm13, zmm14, zmm15,
    ];

    private static readonly AssemblerRegisterXMM[] Preserved = [xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15];

    private int _used;

    /// <summary>Takes a register.</summary>
    /// <exception cref="InvalidOperationException">All 32 are in use.</exception>
    public AssemblerRegisterZMM Take() =>
        _used < Order.Length ? Order[_used++] : throw new InvalidOperationException("A kernel needs more than 32 vector registers.");

    /// <summary>Takes several registers.</summary>
    /// <param name="count">How many.</param>
    public AssemblerRegisterZMM[] Take(int count) => [.. Enumerable.Range(0, count).Select(_ => Take())];

    /// <summary>Starts the kernel once all registers are taken: args to rax, preserved registers to the save area.</summary>
    /// <param name="savedOffset">The save area's offset in the args.</param>
    public void Enter(int savedOffset)
    {
        c.mov(rax, isWindows ? rcx : rdi);
        for (var i = 0; i < ToSave; i++)
            c.vmovdqu(__xmmword_ptr[rax + savedOffset + 16 * i], Preserved[i]);
    }

    /// <summary>Ends the kernel.</summary>
    /// <param name="savedOffset">The save area's offset in the args.</param>
    public void Leave(int savedOffset)
    {
        c.vzeroupper();
        for (var i = 0; i < ToSave; i++)
            c.vmovdqu(Preserved[i], __xmmword_ptr[rax + savedOffset + 16 * i]);
        c.ret();
    }

    private int ToSave => isWindows ? Math.Max(0, _used - FirstPreserved) : 0;
}
