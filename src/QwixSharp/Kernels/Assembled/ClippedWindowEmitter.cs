using System.Runtime.InteropServices;
using Iced.Intel;
using QwixSharp.Kernels.Convolutions;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What a kernel of <see cref="ClippedWindowEmitter"/> works on. Assembled code reads the fields by their offsets.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ClippedWindowArgs
{
    /// <summary>The first window's first code.</summary>
    public byte* Image;

    /// <summary>[segment] distances from a window's first code to its segments.</summary>
    public nint* Segments;

    /// <summary>How many segments.</summary>
    public nint SegmentCount;

    /// <summary>Groups of four codes in a segment; even.</summary>
    public nint Groups;

    /// <summary>The codes of the first two steps.</summary>
    public sbyte* Weights;

    /// <summary>[8]: where sums start.</summary>
    public int* Start;

    /// <summary>[window][16] sums, of which 8 are the result.</summary>
    public int* Sums;

    /// <summary>[rest] distances from a window's first code.</summary>
    public nint* RestPlaces;

    /// <summary>[rest][8][4].</summary>
    public sbyte* Rests;

    /// <summary>How many rests.</summary>
    public nint RestCount;

    /// <summary>Room to keep registers that the caller's convention preserves.</summary>
    public IntegerTileArgs.SaveArea Saved;
}

/// <summary>What distinguishes the kernels of <see cref="ClippedWindowEmitter"/>.</summary>
/// <param name="Windows">Windows side by side, up to <see cref="ClippedWindowEmitter.MostWindows"/>.</param>
/// <param name="Step">Bytes from one window to the next.</param>
/// <param name="IsNarrow">Whether the bytes of the image have 7 bits.</param>
/// <param name="IsWindows">The calling convention.</param>
internal readonly record struct ClippedWindowShape(int Windows, int Step, bool IsNarrow, bool IsWindows);

/// <summary>
/// Emits the inner loops of convolutions with AVX2 and <see cref="ClippedPanels"/>: windows × 8 channels of sums in registers, over two groups of four codes at a
/// time; then over the rests.
/// </summary>
/// <remarks>
/// Register plan.
/// <list type="bullet">
/// <item>rax: args. rcx: codes of the first window. rdx: weights, then rests. r9: groups left in the segment, then rests. r10: start values, then sums.
/// r11: distances of the segments, then of the rests.</item>
/// <item>sums: a register a window. Two for the weight, for 8 bits one for what its products are too large by, two for products, one for ones: 14 with eight windows.</item>
/// </list>
/// </remarks>
internal static class ClippedWindowEmitter
{
    /// <summary>The most windows of a kernel.</summary>
    public const int MostWindows = 8;

    private const int Vector = 32, StepBytes = 64, RowOfSums = 64, Group = 4;

    /// <summary>Emits the kernel of a shape.</summary>
    /// <param name="assembler">Takes the code.</param>
    /// <param name="shape">The shape.</param>
    public static void Emit(Assembler assembler, ClippedWindowShape shape)
    {
        var registers = new Avx2RegisterPlan(assembler, shape.IsWindows);
        AssemblerRegisterYMM first = registers.Take(), second = registers.Take(), left = registers.Take(), right = registers.Take(), ones = registers.Take();
        AssemblerRegisterYMM? offset = shape.IsNarrow ? null : registers.Take();
        var sums = registers.Take(shape.Windows);
        var saved = Offset(nameof(ClippedWindowArgs.Saved));
        registers.Enter(saved);
        assembler.mov(rdx, Field(nameof(ClippedWindowArgs.Weights)));
        assembler.mov(r11, Field(nameof(ClippedWindowArgs.Segments)));
        assembler.mov(r10, Field(nameof(ClippedWindowArgs.Start)));
        assembler.vpcmpeqw(ones, ones, ones);
        assembler.vpsrlw(ones, ones, 15);
        foreach (var sum in sums)
            assembler.vmovdqu(sum, __ymmword_ptr[r10]);

        Label segment = assembler.CreateLabel(), pair = assembler.CreateLabel();
        assembler.Label(ref segment);
        assembler.mov(rcx, Field(nameof(ClippedWindowArgs.Image)));
        assembler.add(rcx, __qword_ptr[r11]);
        assembler.mov(r9, Field(nameof(ClippedWindowArgs.Groups)));
        assembler.Label(ref pair);
        assembler.vmovdqu(first, __ymmword_ptr[rdx]);
        assembler.vmovdqu(second, __ymmword_ptr[rdx + (shape.IsNarrow ? StepBytes : Vector)]);
        if (offset is { } load)
            assembler.vmovdqu(load, __ymmword_ptr[rdx + 2 * Vector]);
        for (var window = 0; window < shape.Windows; window++)
        {
            assembler.vpbroadcastd(left, __dword_ptr[rcx + window * shape.Step]);
            assembler.vpbroadcastd(right, __dword_ptr[rcx + window * shape.Step + Group]);
            assembler.vpmaddubsw(left, left, first);
            assembler.vpmaddubsw(right, right, second);
            if (offset is { } excess)
                assembler.vpsubw(left, left, excess);
            assembler.vpaddw(left, left, right);
            assembler.vpmaddwd(left, left, ones);
            assembler.vpaddd(sums[window], sums[window], left);
        }
        assembler.add(rdx, shape.IsNarrow ? 2 * StepBytes : ClippedPanels.PairBytes);
        assembler.add(rcx, 2 * Group);
        assembler.sub(r9, 2);
        assembler.jnz(pair);
        assembler.add(r11, sizeof(long));
        assembler.dec(Field(nameof(ClippedWindowArgs.SegmentCount)));
        assembler.jnz(segment);

        Label rest = assembler.CreateLabel(), store = assembler.CreateLabel();
        assembler.mov(r9, Field(nameof(ClippedWindowArgs.RestCount)));
        assembler.mov(r11, Field(nameof(ClippedWindowArgs.RestPlaces)));
        assembler.mov(rdx, Field(nameof(ClippedWindowArgs.Rests)));
        assembler.test(r9, r9);
        assembler.jz(store);
        assembler.Label(ref rest);
        assembler.mov(rcx, Field(nameof(ClippedWindowArgs.Image)));
        assembler.add(rcx, __qword_ptr[r11]);
        assembler.vmovdqu(first, __ymmword_ptr[rdx]);
        for (var window = 0; window < shape.Windows; window++)
        {
            assembler.vpbroadcastd(left, __dword_ptr[rcx + window * shape.Step]);
            assembler.vpmaddubsw(left, left, first);
            assembler.vpmaddwd(left, left, ones);
            assembler.vpaddd(sums[window], sums[window], left);
        }
        assembler.add(r11, sizeof(long));
        assembler.add(rdx, Vector);
        assembler.dec(r9);
        assembler.jnz(rest);

        assembler.Label(ref store);
        assembler.mov(r10, Field(nameof(ClippedWindowArgs.Sums)));
        for (var window = 0; window < shape.Windows; window++)
            assembler.vmovdqu(__ymmword_ptr[r10 + RowOfSums * window], sums[window]);
        registers.Leave(saved);
    }

    private static AssemblerMemoryOperand Field(string name) => __qword_ptr[rax + Offset(name)];

    private static int Offset(string field) => (int)Marshal.OffsetOf<ClippedWindowArgs>(field);
}
