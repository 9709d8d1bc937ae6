using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What distinguishes assembled weight-only kernels for two panels of half-byte codes.</summary>
/// <param name="Scales">How the weight's scales are stored.</param>
/// <param name="Rows">Rows of the block.</param>
/// <param name="IsWindows">The calling convention.</param>
internal readonly record struct PairShape(FloatFormat Scales, int Rows, bool IsWindows);

/// <summary>
/// Emits the inner loop of weight-only products of half-byte codes for many rows: up to 14 rows by two panels.
/// </summary>
/// <remarks>
/// With one panel every multiplication reads an activation, of which the processor can do two in a cycle, as it can of
/// multiplications. Here an activation is read once for two. Tiles are summed without their scales, which costs less than scaling
/// every number.
/// Register plan.
/// <list type="bullet">
/// <item>rax: args. rcx: activations. rdx: weights of the first panel. r8: distance to the next panel. r10: distance to its scales.</item>
/// <item>r9: groups left in the tile, then the result. r11: scales of the weight.</item>
/// <item>table. For each panel: the numbers of one value of K, or the tile's scales. An activation.</item>
/// <item>sums: two a row, of one tile. The totals are in the result.</item>
/// </list>
/// </remarks>
internal sealed class PairEmitter
{
    /// <summary>The rows that the registers hold.</summary>
    public const int MostRows = 14;

    private const int Panels = 2;

    private const int Values = 8;

    private static readonly int Saved = Offset(nameof(FloatTileArgs.Saved));

    private readonly Assembler _asm;
    private readonly PairShape _shape;
    private readonly RegisterPlan _registers;
    private readonly ScaleLoad _scales;
    private readonly AssemblerRegisterZMM _table;
    private readonly AssemblerRegisterZMM[] _numbers;
    private readonly AssemblerRegisterZMM _activation;
    private readonly AssemblerRegisterZMM[] _sums;

    private PairEmitter(Assembler assembler, PairShape shape)
    {
        _asm = assembler;
        _shape = shape;
        _registers = new RegisterPlan(_asm, shape.IsWindows);
        _scales = new ScaleLoad(_asm, shape.Scales);
        _table = _registers.Take();
        _numbers = _registers.Take(Panels);
        _activation = _registers.Take();
        _sums = _registers.Take(Panels * shape.Rows);
    }

    /// <summary>Emits the kernel of a shape.</summary>
    /// <param name="assembler">Takes the code.</param>
    /// <param name="shape">The shape.</param>
    public static void Emit(Assembler assembler, PairShape shape) => new PairEmitter(assembler, shape).Emit();

    private void Emit()
    {
        _registers.Enter(Saved);
        _asm.mov(rcx, __qword_ptr[rax + Offset(nameof(FloatTileArgs.Activations))]);
        _asm.mov(rdx, __qword_ptr[rax + Offset(nameof(FloatTileArgs.Weights))]);
        _asm.mov(r8, __qword_ptr[rax + Offset(nameof(FloatTileArgs.PanelBytes))]);
        _asm.mov(r10, __qword_ptr[rax + Offset(nameof(FloatTileArgs.PanelScaleBytes))]);
        _asm.mov(r11, __qword_ptr[rax + Offset(nameof(FloatTileArgs.WeightScales))]);
        _asm.mov(r9, __qword_ptr[rax + Offset(nameof(FloatTileArgs.Table))]);
        _asm.vmovups(_table, __zmmword_ptr[r9]);
        ClearSums();
        _asm.mov(r9, __qword_ptr[rax + Offset(nameof(FloatTileArgs.Result))]);
        for (var i = 0; i < _sums.Length; i++)
            _asm.vmovups(__zmmword_ptr[r9 + 64 * i], _sums[i]);

        var tile = _asm.CreateLabel();
        _asm.Label(ref tile);
        ClearSums();
        GroupLoop();
        AddTile();
        _asm.add(r11, _scales.Bytes);
        _asm.dec(__qword_ptr[rax + Offset(nameof(FloatTileArgs.Tiles))]);
        _asm.jnz(tile);
        _registers.Leave(Saved);
    }

    private AssemblerRegisterZMM Sum(int row, int panel) => _sums[panel * _shape.Rows + row];

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
        for (var value = 0; value < Values; value++)
        {
            Decode(value);
            // Half byte 2j belongs to k+j, half byte 2j+1 to k+4+j.
            var k = value / 2 + value % 2 * 4;
            for (var row = 0; row < _shape.Rows; row++)
            {
                _asm.vbroadcastss(_activation, __dword_ptr[rcx + 4 * (k * _shape.Rows + row)]);
                for (var panel = 0; panel < Panels; panel++)
                    _asm.vfmadd231ps(Sum(row, panel), _numbers[panel], _activation);
            }
        }
        _asm.add(rdx, 64);
        _asm.add(rcx, 4 * _shape.Rows * Values);
        _asm.dec(r9);
        _asm.jnz(loop);
    }

    /// <summary>Permutations regard only the low four bits of an index, so a shift a code suffices.</summary>
    private void Decode(int value)
    {
        for (var panel = 0; panel < Panels; panel++)
        {
            var memory = panel == 0 ? __zmmword_ptr[rdx] : __zmmword_ptr[rdx + r8];
            if (value == 0)
                _asm.vmovdqu32(_numbers[panel], memory);
            else
                _asm.vpsrld(_numbers[panel], memory, (byte)(4 * value));
            _asm.vpermps(_numbers[panel], _numbers[panel], _table);
        }
    }

    private void AddTile()
    {
        _asm.mov(r9, __qword_ptr[rax + Offset(nameof(FloatTileArgs.Result))]);
        for (var panel = 0; panel < Panels; panel++)
        {
            var scale = _numbers[panel];
            _scales.Emit(scale, panel == 0 ? r11 + 0 : r11 + r10);
            for (var row = 0; row < _shape.Rows; row++)
            {
                var total = 64 * (panel * _shape.Rows + row);
                _asm.vfmadd213ps(Sum(row, panel), scale, __zmmword_ptr[r9 + total]);
                _asm.vmovups(__zmmword_ptr[r9 + total], Sum(row, panel));
            }
        }
    }

    private static int Offset(string field) => (int)Marshal.OffsetOf<FloatTileArgs>(field);
}
