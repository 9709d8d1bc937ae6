using System.Runtime.InteropServices;
using Iced.Intel;
using QwixSharp.Kernels.Weights;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What distinguishes assembled weight-only kernels.</summary>
/// <param name="Format">The codes' format; int4 is a codebook here.</param>
/// <param name="Fp8Shift">For <see cref="CodeFormat.Table8"/>: 4 for e4m3, 3 for e5m2.</param>
/// <param name="Tiled">Whether there are several tiles.</param>
/// <param name="Scales">How the weight's scales are stored.</param>
/// <param name="Rows">Rows of the block.</param>
/// <param name="Panels">Panels of the weight; several for one row alone, where each is a stream of memory of its own.</param>
/// <param name="IsWindows">The calling convention.</param>
internal readonly record struct FloatShape(CodeFormat Format, int Fp8Shift, bool Tiled, FloatFormat Scales, int Rows, int Panels, bool IsWindows);

/// <summary>
/// Emits the inner loops of weight-only products with AVX-512: codes of 16 columns become float32 in a register, which every
/// row of the block multiplies.
/// </summary>
/// <remarks>
/// How codes become numbers. Half bytes: <c>vpermps</c> looks 16 numbers up in one register and regards only the low four bits
/// of an index, so a shift a code suffices. Int8: <c>vpshufb</c> moves a byte to the top of its lane, whose conversion is the
/// code times 2^24. Fp8: shifts of 16-bit words put exponent and mantissa of two codes at once where float32 has them, which gives the
/// number times a power of two. The caller takes the powers out.
/// Register plan.
/// <list type="bullet">
/// <item>rax: args. rcx: activations. rdx: weights. r8: distance to the next panel. r9: groups left in the tile. r10: distance to its
/// scales. r11: scales of the weight.</item>
/// <item>constants: the table, or four byte moves, or for fp8 a mask.</item>
/// <item>codes (a group of 64 bytes), for fp8 its shifted words, number (the decoded column values), scale (of the tile).</item>
/// <item>sums: panels × chains × rows. Up to 8 rows have totals besides, to which a tile's sums are added with its scale; larger blocks
/// multiply the scale into each number instead.</item>
/// </list>
/// </remarks>
internal sealed class FloatEmitter
{
    /// <summary>Up to so many rows the sums of tiles are added up, else all values.</summary>
    public const int MostRowsWithTotals = 8;

    /// <summary>With so few rows, reading the weight takes the time. The processor does not look beyond a page; this does.</summary>
    private const int MostRowsOfReading = 4, PrefetchDistance = 2048;

    private const int Lift = 64;

    private static readonly int Saved = Offset(nameof(FloatTileArgs.Saved));
    private static readonly int[] Fp8Order = [3, 1, 2, 0];

    private readonly Assembler _asm;
    private readonly FloatShape _shape;
    private readonly RegisterPlan _registers;
    private readonly ScaleLoad _scaleLoad;
    private readonly AssemblerRegisterZMM[] _constants;
    private readonly AssemblerRegisterZMM _codes;
    private readonly AssemblerRegisterZMM _words;
    private readonly AssemblerRegisterZMM _number;
    private readonly AssemblerRegisterZMM[] _scales;
    private readonly AssemblerRegisterZMM[] _sums;
    private readonly AssemblerRegisterZMM[] _totals;
    private Label _moves;

    private FloatEmitter(Assembler assembler, FloatShape shape)
    {
        _asm = assembler;
        _shape = shape;
        _registers = new RegisterPlan(_asm, shape.IsWindows);
        _scaleLoad = new ScaleLoad(_asm, shape.Scales);
        _constants = _registers.Take(IsHalfByte || IsFp8 ? 1 : 4);
        _codes = _registers.Take();
        _words = IsFp8 ? _registers.Take() : _codes;
        _number = _registers.Take();
        _scales = _registers.Take(shape.Panels);
        _sums = _registers.Take(shape.Panels * Chains * shape.Rows);
        _totals = HasTotals ? _registers.Take(shape.Panels * shape.Rows) : [];
        _moves = _asm.CreateLabel();
    }

    /// <summary>Emits the kernel of a shape.</summary>
    /// <param name="assembler">Takes the code.</param>
    /// <param name="shape">The shape.</param>
    public static void Emit(Assembler assembler, FloatShape shape) => new FloatEmitter(assembler, shape).Emit();

    private bool IsHalfByte => _shape.Format is CodeFormat.Int4 or CodeFormat.Codebook4;

    private bool IsFp8 => _shape.Format == CodeFormat.Table8;

    private bool HasTotals => _shape.Tiled && _shape.Rows <= MostRowsWithTotals;

    private bool ScalesNumbers => _shape.Tiled && !HasTotals;

    /// <summary>Numbers of fp8 are smaller by 2^120 while they are decoded; times a small scale they would be subnormal.</summary>
    private bool LiftsScales => ScalesNumbers && IsFp8;

    private int Values => IsHalfByte ? 8 : 4;

    /// <summary>Sums of a row and panel that are added to in turn, so that an addition need not wait for the last.</summary>
    private int Chains => _shape.Rows switch { 1 => 8 / _shape.Panels, 2 or 3 => 4, <= 7 => 2, _ => 1 };

    /// <summary>Groups in one turn of the loop; those of a tile of bytes are even in number.</summary>
    private int Unroll => Math.Max(1, Chains / Values);

    private void Emit()
    {
        _registers.Enter(Saved);
        _asm.mov(rcx, __qword_ptr[rax + Offset(nameof(FloatTileArgs.Activations))]);
        _asm.mov(rdx, __qword_ptr[rax + Offset(nameof(FloatTileArgs.Weights))]);
        _asm.mov(r11, __qword_ptr[rax + Offset(nameof(FloatTileArgs.WeightScales))]);
        if (_shape.Panels > 1)
        {
            _asm.mov(r8, __qword_ptr[rax + Offset(nameof(FloatTileArgs.PanelBytes))]);
            _asm.mov(r10, __qword_ptr[rax + Offset(nameof(FloatTileArgs.PanelScaleBytes))]);
        }
        LoadConstants();
        foreach (var total in _totals)
            _asm.vpxord(total, total, total);
        if (!HasTotals)
            ClearSums();

        var tile = _asm.CreateLabel();
        _asm.Label(ref tile);
        for (var panel = 0; panel < _shape.Panels; panel++)
            _scaleLoad.Emit(_scales[panel], panel == 0 ? r11 + 0 : r11 + r10);
        if (LiftsScales)
            MultiplyByPower(_scales, Lift);
        if (HasTotals)
            ClearSums();
        GroupLoop();
        if (HasTotals)
            AddTile();
        if (_shape.Tiled)
        {
            _asm.add(r11, _scaleLoad.Bytes);
            _asm.dec(__qword_ptr[rax + Offset(nameof(FloatTileArgs.Tiles))]);
            _asm.jnz(tile);
        }
        Store();
        _registers.Leave(Saved);
        if (_shape.Format == CodeFormat.Int8)
            ByteMoves();
    }

    private void LoadConstants()
    {
        if (IsHalfByte)
        {
            _asm.mov(r9, __qword_ptr[rax + Offset(nameof(FloatTileArgs.Table))]);
            _asm.vmovups(_constants[0], __zmmword_ptr[r9]);
            return;
        }
        if (IsFp8)
        {
            _asm.mov(r9d, Fp8Layout.Mask(_shape.Fp8Shift));
            _asm.vpbroadcastd(_constants[0], r9d);
            return;
        }
        _asm.lea(r9, __[_moves]);
        for (var j = 0; j < 4; j++)
            _asm.vbroadcasti32x4(_constants[j], __xmmword_ptr[r9 + 16 * j]);
    }

    private void ByteMoves()
    {
        _asm.Label(ref _moves);
        for (byte j = 0; j < 4; j++)
            for (byte lane = 0; lane < 4; lane++)
                _asm.db(0x80, 0x80, 0x80, (byte)(4 * lane + j));
    }

    private void ClearSums()
    {
        foreach (var sum in _sums)
            _asm.vpxord(sum, sum, sum);
    }

    private void GroupLoop()
    {
        _asm.mov(r9, __qword_ptr[rax + Offset(nameof(FloatTileArgs.Groups))]);
        var loop = _asm.CreateLabel();
        _asm.Label(ref loop);
        for (var group = 0; group < Unroll; group++)
            for (var panel = 0; panel < _shape.Panels; panel++)
                MultiplyGroup(group, panel);
        _asm.add(rdx, 64 * Unroll);
        _asm.add(rcx, 4 * _shape.Rows * Values * Unroll);
        _asm.sub(r9, Unroll);
        _asm.jnz(loop);
        for (var panel = 0; panel < _shape.Panels; panel++)
            for (var row = 0; row < _shape.Rows; row++)
                for (var chain = 1; chain < Chains; chain++)
                    _asm.vaddps(Sum(panel, row), Sum(panel, row), Sum(panel, row, chain));
    }

    private AssemblerRegisterZMM Sum(int panel, int row, int chain = 0) => _sums[(panel * Chains + chain) * _shape.Rows + row];

    private void MultiplyGroup(int group, int panel)
    {
        var weights = panel == 0 ? rdx + 64 * group : rdx + r8 + 64 * group;
        if (_shape.Rows <= MostRowsOfReading)
            _asm.prefetcht0(__byte_ptr[weights + PrefetchDistance]);
        _asm.vmovdqu32(_codes, __zmmword_ptr[weights]);
        for (var value = 0; value < Values; value++)
        {
            var step = group * Values + value;
            // Half byte 2j belongs to k+j, half byte 2j+1 to k+4+j. Of fp8, bytes 3 and 1 come from the same words, then 2 and 0.
            var k = IsHalfByte ? value / 2 + value % 2 * 4 : IsFp8 ? Fp8Order[value] : value;
            Decode(value);
            if (ScalesNumbers)
                _asm.vmulps(_number, _number, _scales[panel]);
            for (var row = 0; row < _shape.Rows; row++)
                _asm.vfmadd231ps(Sum(panel, row, step % Chains), _number, __dword_bcst[rcx + 4 * ((group * Values + k) * _shape.Rows + row)]);
        }
    }

    private void Decode(int value)
    {
        if (IsHalfByte)
        {
            if (value > 0)
                _asm.vpsrld(_number, _codes, (byte)(4 * value));
            _asm.vpermps(_number, value > 0 ? _number : _codes, _constants[0]);
            return;
        }
        if (IsFp8)
        {
            DecodeFp8(value);
            return;
        }
        _asm.vpshufb(_number, _codes, _constants[value]);
        _asm.vcvtdq2ps(_number, _number);
    }

    /// <summary>The words' upper bytes are decoded as they are, the lower ones once they are moved up; of two words in a lane the upper first.</summary>
    private void DecodeFp8(int value)
    {
        if (value == 2)
            _asm.vpsllw(_codes, _codes, 8);
        if (value % 2 == 0)
        {
            _asm.vpsraw(_words, _codes, (byte)_shape.Fp8Shift);
            _asm.vpandd(_number, _words, _constants[0]);
            return;
        }
        _asm.vpslld(_number, _words, 16);
        _asm.vpandd(_number, _number, _constants[0]);
    }

    private void AddTile()
    {
        for (var panel = 0; panel < _shape.Panels; panel++)
            for (var row = 0; row < _shape.Rows; row++)
                _asm.vfmadd231ps(_totals[panel * _shape.Rows + row], Sum(panel, row), _scales[panel]);
    }

    /// <summary>Multiplies by 2^<paramref name="exponent"/>; the number's register and r9 lose what they have.</summary>
    private void MultiplyByPower(AssemblerRegisterZMM[] registers, int exponent)
    {
        _asm.mov(r9d, 127 + exponent << 23);
        _asm.vpbroadcastd(_number, r9d);
        foreach (var register in registers)
            _asm.vmulps(register, register, _number);
    }

    private void Store()
    {
        if (LiftsScales)
            MultiplyByPower(_sums, -Lift);
        _asm.mov(r9, __qword_ptr[rax + Offset(nameof(FloatTileArgs.Result))]);
        for (var panel = 0; panel < _shape.Panels; panel++)
            for (var row = 0; row < _shape.Rows; row++)
            {
                var place = panel * _shape.Rows + row;
                var result = HasTotals ? _totals[place] : Sum(panel, row);
                if (!_shape.Tiled)
                    _asm.vmulps(result, result, _scales[panel]);
                _asm.vmovups(__zmmword_ptr[r9 + 64 * place], result);
            }
    }

    private static int Offset(string field) => (int)Marshal.OffsetOf<FloatTileArgs>(field);
}
