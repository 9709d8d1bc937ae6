using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What the words of a <see cref="SumsEmitter"/> kernel are.</summary>
internal enum SumsKind
{
    /// <summary>Two signed 16-bit words of both sides, whose products <c>vpmaddwd</c> adds in 32 bits: exact for all bytes.</summary>
    Words,

    /// <summary>Four codes 0 … 15 of the weight and four signed bytes of the activations, for <c>vpmaddubsw</c>.</summary>
    HalfBytes,
}

/// <summary>What distinguishes the kernels of <see cref="SumsEmitter"/>.</summary>
/// <param name="Kind">What is multiplied.</param>
/// <param name="Rows">Rows of the activations, up to <see cref="SumsEmitter.MostRows"/>.</param>
/// <param name="RowBytes">From one row's word to the next row's.</param>
/// <param name="TileSteps">Half bytes: the steps of a tile, up to <see cref="SumsEmitter.MostTileSteps"/>, whose sums are scaled; 0 for one sum over all.</param>
/// <param name="HasSegments">Words: whether the steps are those of segments that lie apart in the activations.</param>
/// <param name="IsWindows">The calling convention.</param>
internal readonly record struct SumsShape(SumsKind Kind, int Rows, int RowBytes, int TileSteps, bool HasSegments, bool IsWindows);

/// <summary>Emits the inner loops of AVX2: rows × 16 columns of sums in registers, over steps of one 32-bit word of each side.</summary>
/// <remarks>
/// Register plan.
/// <list type="bullet">
/// <item>rax: args. rcx: activations. rdx: weights. r8: distance between steps. r9: steps left, then a pointer for scales.
/// r10: sums. r11: steps left until sums of 16 bits are full, scales of the weight, or distances of segments.</item>
/// <item>sums: two registers a row. Two for the weight, one for a row's word, which is also the second product, one for the
/// first product: 16 with six rows.</item>
/// </list>
/// Half bytes are added in 16 bits: a pair of products is at most 2 · 15 · 128 in magnitude, and eight pairs fit.
/// </remarks>
internal sealed class SumsEmitter
{
    /// <summary>The most rows that the registers hold.</summary>
    public const int MostRows = 6;

    /// <summary>The steps of half bytes whose sums fit 16 bits.</summary>
    public const int MostTileSteps = 8;

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
        if (_shape.TileSteps > 0)
            Tiles();
        else if (_shape.Kind == SumsKind.HalfBytes)
            HalfBytes();
        else
            WholeSums();
        _registers.Leave(Saved);
    }

    private void WholeSums()
    {
        if (_shape.HasSegments)
            Segments();
        else
        {
            for (var sum = 0; sum < _sums.Length; sum++)
                _asm.vmovups(_sums[sum], Sum(sum));
            _asm.mov(r9, Field(nameof(SumsArgs.Steps)));
            StepLoop(r9);
        }
        for (var sum = 0; sum < _sums.Length; sum++)
            _asm.vmovups(Sum(sum), _sums[sum]);
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
        _asm.mov(r9, Field(nameof(SumsArgs.Steps)));
        StepLoop(r9);
        _asm.add(r11, sizeof(long));
        _asm.dec(Field(nameof(SumsArgs.SegmentCount)));
        _asm.jnz(segment);
    }

    private void HalfBytes()
    {
        _asm.mov(r9, Field(nameof(SumsArgs.Steps)));
        var part = _asm.CreateLabel();
        _asm.Label(ref part);
        _asm.mov(r11d, MostTileSteps);
        _asm.cmp(r9, r11);
        _asm.cmovl(r11, r9);
        _asm.sub(r9, r11);
        foreach (var sum in _sums)
            _asm.vpxor(sum, sum, sum);
        StepLoop(r11);
        WidenSums();
        for (var sum = 0; sum < _sums.Length; sum++)
        {
            _asm.vpaddd(_sums[sum], _sums[sum], Sum(sum));
            _asm.vmovdqu(Sum(sum), _sums[sum]);
        }
        _asm.test(r9, r9);
        _asm.jnz(part);
    }

    private void Tiles()
    {
        _asm.mov(r11, Field(nameof(SumsArgs.WeightScales)));
        var tile = _asm.CreateLabel();
        _asm.Label(ref tile);
        for (var step = 0; step < _shape.TileSteps; step++)
        {
            Multiply(step, step % StepsAtOnce, isFirst: step == 0);
            if (step % StepsAtOnce == StepsAtOnce - 1)
                _asm.lea(rcx, __[rcx + r8 * StepsAtOnce]);
        }
        WidenSums();
        AddStart();
        AddScaled();
        _asm.add(rdx, WeightBytes * _shape.TileSteps);
        _asm.add(r11, WeightBytes);
        _asm.dec(Field(nameof(SumsArgs.Tiles)));
        _asm.jnz(tile);
    }

    private void StepLoop(AssemblerRegister64 left)
    {
        var loop = _asm.CreateLabel();
        _asm.Label(ref loop);
        for (var step = 0; step < StepsAtOnce; step++)
            Multiply(step, step, isFirst: false);
        _asm.add(rdx, WeightBytes * StepsAtOnce);
        _asm.lea(rcx, __[rcx + r8 * StepsAtOnce]);
        _asm.sub(left, StepsAtOnce);
        _asm.jnz(loop);
    }

    /// <summary>One step.</summary>
    /// <param name="weightStep">Its number from rdx on.</param>
    /// <param name="step">Its number from rcx on: 0 or 1.</param>
    /// <param name="isFirst">Whether the sums begin with it.</param>
    private void Multiply(int weightStep, int step, bool isFirst)
    {
        _asm.vmovdqu(_left, __ymmword_ptr[rdx + WeightBytes * weightStep]);
        _asm.vmovdqu(_right, __ymmword_ptr[rdx + WeightBytes * weightStep + Half]);
        for (var row = 0; row < _shape.Rows; row++)
        {
            var offset = row * _shape.RowBytes;
            _asm.vbroadcastss(_row, step == 0 ? __dword_ptr[rcx + offset] : __dword_ptr[rcx + r8 + offset]);
            Add(_sums[2 * row], _left, _product, isFirst);
            Add(_sums[2 * row + 1], _right, _row, isFirst);
        }
    }

    private void Add(AssemblerRegisterYMM sum, AssemblerRegisterYMM weights, AssemblerRegisterYMM product, bool isFirst)
    {
        switch (_shape.Kind)
        {
            case SumsKind.Words:
                _asm.vpmaddwd(product, weights, _row);
                _asm.vpaddd(sum, sum, product);
                break;
            default:
                _asm.vpmaddubsw(isFirst ? sum : product, weights, _row);
                if (!isFirst)
                    _asm.vpaddw(sum, sum, product);
                break;
        }
    }

    /// <summary>Sums of 16 bits to sums of 32.</summary>
    private void WidenSums()
    {
        var ones = _left;
        _asm.vpcmpeqw(ones, ones, ones);
        _asm.vpsrlw(ones, ones, 15);
        foreach (var sum in _sums)
            _asm.vpmaddwd(sum, sum, ones);
    }

    private void AddStart()
    {
        _asm.mov(r9, Field(nameof(SumsArgs.Start)));
        for (var row = 0; row < _shape.Rows; row++)
        {
            _asm.vpbroadcastd(_row, __dword_ptr[r9 + 4 * row]);
            _asm.vpaddd(_sums[2 * row], _sums[2 * row], _row);
            _asm.vpaddd(_sums[2 * row + 1], _sums[2 * row + 1], _row);
        }
        _asm.add(r9, Field(nameof(SumsArgs.TileBytes)));
        _asm.mov(Field(nameof(SumsArgs.Start)), r9);
    }

    private void AddScaled()
    {
        _asm.mov(r9, Field(nameof(SumsArgs.ActivationScales)));
        _asm.vmovups(_left, __ymmword_ptr[r11]);
        _asm.vmovups(_right, __ymmword_ptr[r11 + Half]);
        for (var row = 0; row < _shape.Rows; row++)
        {
            _asm.vbroadcastss(_row, __dword_ptr[r9 + 4 * row]);
            for (var side = 0; side < 2; side++)
            {
                var sum = 2 * row + side;
                _asm.vcvtdq2ps(_sums[sum], _sums[sum]);
                _asm.vmulps(_product, side == 0 ? _left : _right, _row);
                _asm.vfmadd213ps(_sums[sum], _product, Sum(sum));
                _asm.vmovups(Sum(sum), _sums[sum]);
            }
        }
        _asm.add(r9, Field(nameof(SumsArgs.TileBytes)));
        _asm.mov(Field(nameof(SumsArgs.ActivationScales)), r9);
    }

    private static AssemblerMemoryOperand Sum(int sum) => __ymmword_ptr[r10 + Half * sum];

    private static AssemblerMemoryOperand Field(string name) => __qword_ptr[rax + Offset(name)];

    private static int Offset(string field) => (int)Marshal.OffsetOf<SumsArgs>(field);
}
