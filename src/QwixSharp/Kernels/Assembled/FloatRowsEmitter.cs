using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What distinguishes the kernels of <see cref="FloatRowsEmitter"/>.</summary>
/// <param name="Rows">Rows of a part, up to <see cref="FloatRowsEmitter.MostRows"/>.</param>
/// <param name="IsWindows">The calling convention.</param>
internal readonly record struct FloatRowsShape(int Rows, bool IsWindows);

/// <summary>Emits AVX2's products of float32 rows and numbers of 16 columns that were decoded before: parts of some rows, one after the other.</summary>
/// <remarks>
/// Register plan.
/// <list type="bullet">
/// <item>rax: args. rcx: activations. rdx: numbers. r8: the part's first activation. r9: steps left. r10: sums. r11: parts left.</item>
/// <item>sums: two registers a row. Two for the numbers, one for a row's activation: 15 of 16 with six rows.</item>
/// <item>Up to three rows have two sets of sums, which take turns: a multiply-add takes four cycles and two begin in each, so that fewer
/// than eight sums would wait for themselves.</item>
/// </list>
/// </remarks>
internal sealed class FloatRowsEmitter
{
    /// <summary>The most rows that the registers hold.</summary>
    public const int MostRows = 6;

    private const int MostRowsOfTwoSets = 3;
    private const int StepsAtOnce = 2;
    private const int ColumnBytes = 64, Half = 32;

    private static readonly int Saved = Offset(nameof(FloatRowsArgs.Saved));

    private readonly Assembler _asm;
    private readonly int _rows;
    private readonly Avx2RegisterPlan _registers;
    private readonly AssemblerRegisterYMM _left, _right, _row;
    private readonly AssemblerRegisterYMM[] _sums, _others;

    private FloatRowsEmitter(Assembler assembler, FloatRowsShape shape)
    {
        (_asm, _rows) = (assembler, shape.Rows);
        _registers = new Avx2RegisterPlan(_asm, shape.IsWindows);
        (_left, _right, _row) = (_registers.Take(), _registers.Take(), _registers.Take());
        _sums = _registers.Take(2 * _rows);
        _others = _rows <= MostRowsOfTwoSets ? _registers.Take(2 * _rows) : _sums;
    }

    /// <summary>Emits the kernel of a shape.</summary>
    /// <param name="assembler">Takes the code.</param>
    /// <param name="shape">The shape.</param>
    public static void Emit(Assembler assembler, FloatRowsShape shape) => new FloatRowsEmitter(assembler, shape).Emit();

    private void Emit()
    {
        _registers.Enter(Saved);
        _asm.mov(r8, Field(nameof(FloatRowsArgs.Activations)));
        _asm.mov(r10, Field(nameof(FloatRowsArgs.Sums)));
        _asm.mov(r11, Field(nameof(FloatRowsArgs.Parts)));
        var part = _asm.CreateLabel();
        _asm.Label(ref part);
        ClearSums();
        Steps();
        AddSums();
        _asm.add(r8, Field(nameof(FloatRowsArgs.PartBytes)));
        _asm.add(r10, _rows * ColumnBytes);
        _asm.dec(r11);
        _asm.jnz(part);
        _registers.Leave(Saved);
    }

    private void Steps()
    {
        _asm.mov(rcx, r8);
        _asm.mov(rdx, Field(nameof(FloatRowsArgs.Numbers)));
        _asm.mov(r9, Field(nameof(FloatRowsArgs.Steps)));
        var loop = _asm.CreateLabel();
        _asm.Label(ref loop);
        for (var step = 0; step < StepsAtOnce; step++)
            Multiply(step, step == 0 ? _sums : _others);
        _asm.add(rdx, ColumnBytes * StepsAtOnce);
        _asm.add(rcx, _rows * sizeof(float) * StepsAtOnce);
        _asm.sub(r9, StepsAtOnce);
        _asm.jnz(loop);
    }

    private void Multiply(int step, AssemblerRegisterYMM[] sums)
    {
        _asm.vmovups(_left, __ymmword_ptr[rdx + ColumnBytes * step]);
        _asm.vmovups(_right, __ymmword_ptr[rdx + ColumnBytes * step + Half]);
        for (var row = 0; row < _rows; row++)
        {
            _asm.vbroadcastss(_row, __dword_ptr[rcx + (step * _rows + row) * sizeof(float)]);
            _asm.vfmadd231ps(sums[2 * row], _left, _row);
            _asm.vfmadd231ps(sums[2 * row + 1], _right, _row);
        }
    }

    private void ClearSums()
    {
        for (var sum = 0; sum < _sums.Length; sum++)
        {
            _asm.vxorps(_sums[sum], _sums[sum], _sums[sum]);
            if (_others != _sums)
                _asm.vxorps(_others[sum], _others[sum], _others[sum]);
        }
    }

    /// <summary>Only now: of a long K one after the other, roundings of equal values would lean to one side.</summary>
    private void AddSums()
    {
        for (var sum = 0; sum < _sums.Length; sum++)
        {
            if (_others != _sums)
                _asm.vaddps(_sums[sum], _sums[sum], _others[sum]);
            _asm.vaddps(_sums[sum], _sums[sum], Sum(sum));
            _asm.vmovups(Sum(sum), _sums[sum]);
        }
    }

    private static AssemblerMemoryOperand Sum(int sum) => __ymmword_ptr[r10 + Half * sum];

    private static AssemblerMemoryOperand Field(string name) => __qword_ptr[rax + Offset(name)];

    private static int Offset(string field) => (int)Marshal.OffsetOf<FloatRowsArgs>(field);
}
