using Iced.Intel;

namespace QwixSharp.Kernels.Assembled;

/// <summary>
/// One step of an integer kernel: to each 32-bit lane, the four products of a lane's unsigned and signed bytes.
/// Either the instruction <c>vpdpbusd</c>, or its stand-in from AVX-512 BW instructions, equal for all bytes.
/// </summary>
/// <param name="c">The assembler.</param>
/// <param name="registers">Gives the stand-in its three registers.</param>
/// <param name="hasVnni">Whether to use the instruction.</param>
internal sealed class DotProduct(Assembler c, RegisterPlan registers, bool hasVnni)
{
    private readonly AssemblerRegisterZMM[] _spare = hasVnni ? [] : registers.Take(3);

    /// <summary>Whether a signed operand may come from memory without a register of its own.</summary>
    public bool TakesMemory => hasVnni;

    /// <summary>sum += unsigned · signed.</summary>
    /// <param name="sum">16 sums.</param>
    /// <param name="unsigned">64 unsigned bytes.</param>
    /// <param name="signed">64 signed bytes.</param>
    public void Add(AssemblerRegisterZMM sum, AssemblerRegisterZMM unsigned, AssemblerRegisterZMM signed)
    {
        if (hasVnni)
        {
            c.vpdpbusd(sum, unsigned, signed);
            return;
        }
        var (even, evenSigned, odd) = (_spare[0], _spare[1], _spare[2]);
        c.vpsllw(even, unsigned, 8);
        c.vpsrlw(even, even, 8);
        c.vpsllw(evenSigned, signed, 8);
        c.vpsraw(evenSigned, evenSigned, 8);
        c.vpmaddwd(even, even, evenSigned);
        c.vpaddd(sum, sum, even);
        c.vpsrlw(odd, unsigned, 8);
        c.vpsraw(evenSigned, signed, 8);
        c.vpmaddwd(odd, odd, evenSigned);
        c.vpaddd(sum, sum, odd);
    }

    /// <summary>sum += unsigned · signed bytes at an address, or the four at it repeated; only if <see cref="TakesMemory"/>.</summary>
    /// <param name="sum">16 sums.</param>
    /// <param name="unsigned">64 unsigned bytes.</param>
    /// <param name="signed">64 bytes, or a broadcast of a 32-bit word.</param>
    public void Add(AssemblerRegisterZMM sum, AssemblerRegisterZMM unsigned, AssemblerMemoryOperand signed) => c.vpdpbusd(sum, unsigned, signed);
}
