using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What distinguishes the kernels of <see cref="HalfByteEmitter"/>.</summary>
/// <param name="Rows">Rows of the activations, up to <see cref="HalfByteEmitter.MostRows"/>.</param>
/// <param name="TileSteps">The steps of a tile, up to <see cref="HalfByteEmitter.MostTileSteps"/>, whose sums are scaled; 0 for one sum over all.</param>
/// <param name="IsWindows">The calling convention.</param>
internal readonly record struct HalfByteShape(int Rows, int TileSteps, bool IsWindows);

/// <summary>
/// Emits the inner loops of AVX2 for half bytes: rows × 16 columns of sums in registers, over steps of four values of K.
/// </summary>
/// <remarks>
/// <para>
/// Sums of 16 bits hold 32 products a lane, those of 16 steps: a segment. Products of stored codes c + 8 and activations a are subtracted from a start value
/// of 8 · Σ a, so that the lane ends with −Σ c · a, however it wraps around on the way. With codes −8 … 7 and activations −128 … 127 a product −c · a lies
/// in −1024 … 1016, and 32 of them in −32768 … 32512: they always fit, where Σ c · a would not.
/// </para>
/// Register plan.
/// <list type="bullet">
/// <item>rax: args. rcx: activations. rdx: weights. r8: scales of rows. r9: steps left. r10: sums. r11: scales of the weight, or steps left in the segment.</item>
/// <item>sums: two registers a row. Two for the weight, one for a row's word, which is also the second product, one for the first product: 16 with
/// six rows.</item>
/// </list>
/// </remarks>
internal sealed class HalfByteEmitter
{
    /// <summary>The most rows that the registers hold.</summary>
    public const int MostRows = 6;

    /// <summary>The steps whose sums fit 16 bits.</summary>
    public const int SegmentSteps = 16;

    /// <summary>The most steps of a tile: 256 values of K.</summary>
    public const int MostTileSteps = 64;

    /// <summary>Steps of the loops.</summary>
    private const int StepsAtOnce = 2;

    private const int WeightBytes = 64, Half = 32, WordBytes = 4;

    private static readonly int Saved = Offset(nameof(HalfByteArgs.Saved));

    private readonly Assembler _asm;
    private readonly HalfByteShape _shape;
    private readonly Avx2RegisterPlan _registers;
    private readonly AssemblerRegisterYMM[] _sums;
    private readonly AssemblerRegisterYMM _left, _right, _row, _product;

    private HalfByteEmitter(Assembler assembler, HalfByteShape shape)
    {
        (_asm, _shape) = (assembler, shape);
        _registers = new Avx2RegisterPlan(_asm, shape.IsWindows);
        (_left, _right, _row, _product) = (_registers.Take(), _registers.Take(), _registers.Take(), _registers.Take());
        _sums = _registers.Take(2 * shape.Rows);
    }

    /// <summary>Emits the kernel of a shape.</summary>
    /// <param name="assembler">Takes the code.</param>
    /// <param name="shape">The shape.</param>
    public static void Emit(Assembler assembler, HalfByteShape shape) => new HalfByteEmitter(assembler, shape).Emit();

    private void Emit()
    {
        _registers.Enter(Saved);
        _asm.mov(rdx, Field(nameof(HalfByteArgs.Weights)));
        _asm.mov(rcx, Field(nameof(HalfByteArgs.Activations)));
        _asm.mov(r10, Field(nameof(HalfByteArgs.Sums)));
        if (_shape.TileSteps > 0)
            Tiles();
        else
            Whole();
        _registers.Leave(Saved);
    }

    private void Whole()
    {
        _asm.mov(r9, Field(nameof(HalfByteArgs.Steps)));
        var segment = _asm.CreateLabel();
        _asm.Label(ref segment);
        _asm.mov(r11d, SegmentSteps);
        _asm.cmp(r9, r11);
        _asm.cmovl(r11, r9);
        _asm.sub(r9, r11);
        Begin();
        StepLoop(r11);
        Widen();
        for (var sum = 0; sum < _sums.Length; sum++)
        {
            _asm.vpaddd(_sums[sum], _sums[sum], Sum(sum));
            _asm.vmovdqu(Sum(sum), _sums[sum]);
        }
        _asm.test(r9, r9);
        _asm.jnz(segment);
    }

    private void Tiles()
    {
        _asm.mov(r11, Field(nameof(HalfByteArgs.WeightScales)));
        _asm.mov(r8, Field(nameof(HalfByteArgs.ActivationScales)));
        var tile = _asm.CreateLabel();
        _asm.Label(ref tile);
        for (var step = 0; step < _shape.TileSteps; step += SegmentSteps)
        {
            Begin();
            _asm.mov(r9d, Math.Min(SegmentSteps, _shape.TileSteps - step));
            StepLoop(r9);
            Widen();
            AddPartial(isFirst: step == 0, isLast: step + SegmentSteps >= _shape.TileSteps);
        }
        AddScaled();
        _asm.add(r11, WeightBytes);
        _asm.add(r8, Field(nameof(HalfByteArgs.TileBytes)));
        _asm.dec(Field(nameof(HalfByteArgs.Tiles)));
        _asm.jnz(tile);
    }

    /// <summary>Start values, and on to the segment's steps.</summary>
    private void Begin()
    {
        for (var row = 0; row < _shape.Rows; row++)
        {
            _asm.vpbroadcastd(_sums[2 * row], __dword_ptr[rcx + WordBytes * row]);
            _asm.vmovdqa(_sums[2 * row + 1], _sums[2 * row]);
        }
        _asm.add(rcx, WordBytes * _shape.Rows);
    }

    private void StepLoop(AssemblerRegister64 left)
    {
        var loop = _asm.CreateLabel();
        _asm.Label(ref loop);
        for (var step = 0; step < StepsAtOnce; step++)
            Multiply(step);
        _asm.add(rdx, WeightBytes * StepsAtOnce);
        _asm.add(rcx, WordBytes * _shape.Rows * StepsAtOnce);
        _asm.sub(left, StepsAtOnce);
        _asm.jnz(loop);
    }

    private void Multiply(int step)
    {
        _asm.vmovdqu(_left, __ymmword_ptr[rdx + WeightBytes * step]);
        _asm.vmovdqu(_right, __ymmword_ptr[rdx + WeightBytes * step + Half]);
        for (var row = 0; row < _shape.Rows; row++)
        {
            _asm.vbroadcastss(_row, __dword_ptr[rcx + WordBytes * (step * _shape.Rows + row)]);
            _asm.vpmaddubsw(_product, _left, _row);
            _asm.vpsubw(_sums[2 * row], _sums[2 * row], _product);
            _asm.vpmaddubsw(_row, _right, _row);
            _asm.vpsubw(_sums[2 * row + 1], _sums[2 * row + 1], _row);
        }
    }

    /// <summary>Negated sums of 16 bits to sums of 32.</summary>
    private void Widen()
    {
        var negative = _left;
        _asm.vpcmpeqw(negative, negative, negative);
        foreach (var sum in _sums)
            _asm.vpmaddwd(sum, sum, negative);
    }

    private void AddPartial(bool isFirst, bool isLast)
    {
        for (var sum = 0; sum < _sums.Length; sum++)
        {
            var partial = __ymmword_ptr[rax + Offset(nameof(HalfByteArgs.Partial)) + Half * sum];
            if (!isFirst)
                _asm.vpaddd(_sums[sum], _sums[sum], partial);
            if (!isLast)
                _asm.vmovdqu(partial, _sums[sum]);
        }
    }

    private void AddScaled()
    {
        _asm.vmovups(_left, __ymmword_ptr[r11]);
        _asm.vmovups(_right, __ymmword_ptr[r11 + Half]);
        for (var row = 0; row < _shape.Rows; row++)
        {
            _asm.vbroadcastss(_row, __dword_ptr[r8 + WordBytes * row]);
            for (var side = 0; side < 2; side++)
            {
                var sum = 2 * row + side;
                _asm.vcvtdq2ps(_sums[sum], _sums[sum]);
                _asm.vmulps(_product, side == 0 ? _left : _right, _row);
                _asm.vfmadd213ps(_sums[sum], _product, Sum(sum));
                _asm.vmovups(Sum(sum), _sums[sum]);
            }
        }
    }

    private static AssemblerMemoryOperand Sum(int sum) => __ymmword_ptr[r10 + Half * sum];

    private static AssemblerMemoryOperand Field(string name) => __qword_ptr[rax + Offset(name)];

    private static int Offset(string field) => (int)Marshal.OffsetOf<HalfByteArgs>(field);
}
