using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>
/// Hands out the vector registers of a kernel and keeps what the caller's convention wants kept.
/// </summary>
/// <remarks>
/// Every kernel is a leaf function of one argument, a pointer to its args, which it moves to rax. It uses only rax, rcx, rdx
/// and r8 … r11 besides, which both the System V and the Windows convention let it change. Windows wants xmm6 … xmm15
/// preserved: they are handed out last, and saved in the args rather than on the stack.
/// </remarks>
/// <typeparam name="TRegister">The kind of register.</typeparam>
/// <param name="c">The assembler.</param>
/// <param name="isWindows">The calling convention.</param>
/// <param name="order">All registers, those that a convention preserves last.</param>
internal abstract class RegisterPlan<TRegister>(Assembler c, bool isWindows, TRegister[] order)
{
    private static readonly AssemblerRegisterXMM[] Preserved = [xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15];

    private int _used;

    /// <summary>Takes a register.</summary>
    /// <exception cref="InvalidOperationException">All are in use.</exception>
    public TRegister Take() =>
        _used < order.Length ? order[_used++] : throw new InvalidOperationException($"A kernel needs more than {order.Length} vector registers.");

    /// <summary>Takes several registers.</summary>
    /// <param name="count">How many.</param>
    public TRegister[] Take(int count) => [.. Enumerable.Range(0, count).Select(_ => Take())];

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

    private int ToSave => isWindows ? Math.Max(0, _used - (order.Length - Preserved.Length)) : 0;
}

/// <summary>The 32 registers of AVX-512.</summary>
/// <param name="c">The assembler.</param>
/// <param name="isWindows">The calling convention.</param>
internal sealed class RegisterPlan(Assembler c, bool isWindows) : RegisterPlan<AssemblerRegisterZMM>(c, isWindows, Order)
{
    private static readonly AssemblerRegisterZMM[] Order =
    [
        zmm16, zmm17, zmm18, zmm19, zmm20, zmm21, zmm22, zmm23, zmm24, zmm25, zmm26, zmm27, zmm28, zmm29, zmm30, zmm31,
        zmm0, zmm1, zmm2, zmm3, zmm4, zmm5, zmm6, zmm7, zmm8, zmm9, zmm10, zmm11, zmm12, zmm13, zmm14, zmm15,
    ];
}

/// <summary>The 16 registers of AVX2.</summary>
/// <param name="c">The assembler.</param>
/// <param name="isWindows">The calling convention.</param>
internal sealed class Avx2RegisterPlan(Assembler c, bool isWindows) : RegisterPlan<AssemblerRegisterYMM>(c, isWindows, Order)
{
    private static readonly AssemblerRegisterYMM[] Order =
        [ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11, ymm12, ymm13, ymm14, ymm15];
}
