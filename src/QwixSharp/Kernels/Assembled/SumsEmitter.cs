using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What distinguishes the kernels of <see cref="SumsEmitter"/>.</summary>
/// <param name="Rows">Rows of the activations, up to <see cref="SumsEmitter.MostRows"/>.</param>
/// <param name="RowBytes">From one row's word to the next row's.</param>
/// <param name="HasSegments">Whether the steps are those of segments that lie apart in the activations.</param>
/// <param name="IsWindows">The calling convention.</param>
internal readonly record struct SumsShape(int Rows, int RowBytes, bool HasSegments, bool IsWindows);

/// <summary>
/// Emits the inner loops of AVX2: rows × 16 columns of sums in registers, over steps of two signed 16-bit words of each side, whose
/// products <c>vpmaddwd</c> adds in 32 bits: exact for all bytes.
/// </summary>
/// <remarks>
/// Register plan.
/// <list type="bullet">
/// <item>rax: args. rcx: activations. rdx: weights. r8: distance between steps. r9: steps left. r10: sums. r11: distances of segments.</item>
/// <item>sums: two registers a row. Two for the weight, one for a row's word, which is also the second product, one for the
/// first product: 16 with six rows.</item>
/// </list>
/// </remarks>
internal sealed class SumsEmitter
{
    /// <summary>The most rows that the registers hold.</summary>
    public const int MostRows = 6;

    private const int StepsAtOnce = 2;
    private const int WeightBytes = 64, Half = 32;

    private static readonly int Saved = Offset(nameof(SumsArgs.Saved));

    private readonly Assembler _asm;
    private readonly SumsShape _shape;
    private readonly Avx2RegisterPlan _registers;
    private readonly AssemblerRegisterYMM[] _sums;
    private readonly AssemblerRegisterYMM _left, _right, _row, _product;

    private SumsEmitter(Assembler assembler, SumsShape shape)
    {
        (_asm, _shape) = (assembler, shape);
        _registers = new Avx2RegisterPlan(_asm, shape.IsWindows);
        (_left, _right, _row, _product) = (_registers.Take(), _registers.Take(), _registers.Take(), _registers.Take());
        _sums = _registers.Take(2 * shape.Rows);
    }

    /// <summary>Emits the kernel of a shape.</summary>
    /// <param name="assembler">Takes the code.</param>
    /// <param name="shape">The shape.</param>
    public static void Emit(Assembler assembler, SumsShape shape) => new SumsEmitter(assembler, shape).Emit();

    private void Emit()
    {
        _registers.Enter(Saved);
        _asm.mov(rdx, Field(nameof(SumsArgs.Weights)));
        _asm.mov(rcx, Field(nameof(SumsArgs.Activations)));
        _asm.mov(r8, Field(nameof(SumsArgs.StepBytes)));
        _asm.mov(r10, Field(nameof(SumsArgs.Sums)));
        if (_shape.HasSegments)
            Segments();
        else
        {
            for (var sum = 0; sum < _sums.Length; sum++)
                _asm.vmovups(_sums[sum], Sum(sum));
            StepLoop();
        }
        for (var sum = 0; sum < _sums.Length; sum++)
            _asm.vmovups(Sum(sum), _sums[sum]);
        _registers.Leave(Saved);
    }

    private void Segments()
    {
        _asm.mov(r9, Field(nameof(SumsArgs.Start)));
        for (var sum = 0; sum < _sums.Length; sum++)
            _asm.vmovdqu(_sums[sum], __ymmword_ptr[r9 + Half * (sum % 2)]);
        _asm.mov(r11, Field(nameof(SumsArgs.Segments)));
        var segment = _asm.CreateLabel();
        _asm.Label(ref segment);
        _asm.mov(rcx, Field(nameof(SumsArgs.Activations)));
        _asm.add(rcx, __qword_ptr[r11]);
        StepLoop();
        _asm.add(r11, sizeof(long));
        _asm.dec(Field(nameof(SumsArgs.SegmentCount)));
        _asm.jnz(segment);
    }

    private void StepLoop()
    {
        _asm.mov(r9, Field(nameof(SumsArgs.Steps)));
        var loop = _asm.CreateLabel();
        _asm.Label(ref loop);
        for (var step = 0; step < StepsAtOnce; step++)
            Multiply(step);
        _asm.add(rdx, WeightBytes * StepsAtOnce);
        _asm.lea(rcx, __[rcx + r8 * StepsAtOnce]);
        _asm.sub(r9, StepsAtOnce);
        _asm.jnz(loop);
    }

    private void Multiply(int step)
    {
        _asm.vmovdqu(_left, __ymmword_ptr[rdx + WeightBytes * step]);
        _asm.vmovdqu(_right, __ymmword_ptr[rdx + WeightBytes * step + Half]);
        for (var row = 0; row < _shape.Rows; row++)
        {
            var offset = row * _shape.RowBytes;
            _asm.vbroadcastss(_row, step == 0 ? __dword_ptr[rcx + offset] : __dword_ptr[rcx + r8 + offset]);
            Add(_sums[2 * row], _left, _product);
            Add(_sums[2 * row + 1], _right, _row);
        }
    }

    private void Add(AssemblerRegisterYMM sum, AssemblerRegisterYMM weights, AssemblerRegisterYMM product)
    {
        _asm.vpmaddwd(product, weights, _row);
        _asm.vpaddd(sum, sum, product);
    }

    private static AssemblerMemoryOperand Sum(int sum) => __ymmword_ptr[r10 + Half * sum];

    private static AssemblerMemoryOperand Field(string name) => __qword_ptr[rax + Offset(name)];

    private static int Offset(string field) => (int)Marshal.OffsetOf<SumsArgs>(field);
}
