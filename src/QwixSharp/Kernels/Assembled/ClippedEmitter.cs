using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What distinguishes the kernels of <see cref="ClippedEmitter"/>.</summary>
/// <param name="Rows">Rows of the activations, up to <see cref="ClippedEmitter.MostRows"/>.</param>
/// <param name="IsWindows">The calling convention.</param>
internal readonly record struct ClippedShape(int Rows, bool IsWindows);

/// <summary>
/// Emits the inner loop of AVX2 for codes with <see cref="Weights.ClippedPairs"/>: rows × 8 columns of sums in registers, over two steps of four
/// values of K at a time.
/// </summary>
/// <remarks>
/// <para>
/// Register plan. rax: args. rcx: activations. rdx: weights. r9: pairs of steps left. r10: sums. One register a row for the sums. Three for the
/// weight, two for products, one for ones: 14 with eight rows. Ten would fit, and are no faster.
/// </para>
/// <para>
/// The weight of two steps is 96 bytes: the codes of either, and 127 times the sums of what meets in a lane. Activations u are 127 − code, so that the
/// sum of u · w less 127 times that of w is the sum of codes times w, with the other sign: the ones are negative.
/// </para>
/// </remarks>
internal static class ClippedEmitter
{
    /// <summary>The most rows of a kernel: those of one vector, where what was clipped is added.</summary>
    public const int MostRows = 8;

    /// <summary>Bytes of the weight for two steps and eight columns.</summary>
    public const int WeightBytes = 96;

    private const int Vector = 32, RowOfSums = 64, WordBytes = 4;

    /// <summary>Emits the kernel of a shape.</summary>
    /// <param name="assembler">Takes the code.</param>
    /// <param name="shape">The shape.</param>
    public static void Emit(Assembler assembler, ClippedShape shape)
    {
        var registers = new Avx2RegisterPlan(assembler, shape.IsWindows);
        AssemblerRegisterYMM first = registers.Take(), second = registers.Take(), offset = registers.Take(), left = registers.Take(), right = registers.Take(), ones = registers.Take();
        var sums = registers.Take(shape.Rows);
        var saved = Offset(nameof(SumsArgs.Saved));
        registers.Enter(saved);
        assembler.mov(rdx, Field(nameof(SumsArgs.Weights)));
        assembler.mov(rcx, Field(nameof(SumsArgs.Activations)));
        assembler.mov(r9, Field(nameof(SumsArgs.Steps)));
        assembler.mov(r10, Field(nameof(SumsArgs.Sums)));
        assembler.vpcmpeqd(ones, ones, ones);
        for (var row = 0; row < shape.Rows; row++)
            assembler.vmovdqu(sums[row], __ymmword_ptr[r10 + RowOfSums * row]);
        var loop = assembler.CreateLabel();
        assembler.Label(ref loop);
        assembler.vmovdqu(first, __ymmword_ptr[rdx]);
        assembler.vmovdqu(second, __ymmword_ptr[rdx + Vector]);
        assembler.vmovdqu(offset, __ymmword_ptr[rdx + 2 * Vector]);
        for (var row = 0; row < shape.Rows; row++)
        {
            assembler.vpbroadcastd(left, __dword_ptr[rcx + WordBytes * row]);
            assembler.vpbroadcastd(right, __dword_ptr[rcx + WordBytes * (shape.Rows + row)]);
            assembler.vpmaddubsw(left, left, first);
            assembler.vpmaddubsw(right, right, second);
            assembler.vpsubw(left, left, offset);
            assembler.vpaddw(left, left, right);
            assembler.vpmaddwd(left, left, ones);
            assembler.vpaddd(sums[row], sums[row], left);
        }
        assembler.add(rdx, WeightBytes);
        assembler.add(rcx, 2 * WordBytes * shape.Rows);
        assembler.sub(r9, 2);
        assembler.jnz(loop);
        for (var row = 0; row < shape.Rows; row++)
            assembler.vmovdqu(__ymmword_ptr[r10 + RowOfSums * row], sums[row]);
        registers.Leave(saved);
    }

    private static AssemblerMemoryOperand Field(string name) => __qword_ptr[rax + Offset(name)];

    private static int Offset(string field) => (int)Marshal.OffsetOf<SumsArgs>(field);
}
