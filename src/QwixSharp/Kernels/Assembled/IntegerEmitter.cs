using Iced.Intel;
using QwixSharp.Kernels.Weights;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What distinguishes assembled integer kernels.</summary>
/// <param name="Format">Byte or half-byte codes.</param>
/// <param name="Tiled">Whether tiles are scaled and summed in float32.</param>
/// <param name="Scales">How the weight's scales are stored.</param>
/// <param name="Rows">Rows of the block.</param>
/// <param name="Panels">Panels of 16 columns.</param>
/// <param name="Unroll">Groups of 64 bytes in one turn of the inner loop; divides the groups of a tile.</param>
/// <param name="HasVnni">Whether to use <c>vpdpbusd</c> or its stand-in.</param>
/// <param name="IsWindows">The calling convention.</param>
internal readonly record struct IntegerShape(CodeFormat Format, bool Tiled, FloatFormat Scales, int Rows, int Panels, int Unroll, bool HasVnni, bool IsWindows);

/// <summary>
/// Emits the inner loops of integer products: rows × panels sums of 16 columns in registers, over groups of K.
/// </summary>
/// <remarks>
/// Register plan.
/// <list type="bullet">
/// <item>rax: args. rcx: activations. rdx: weights of the first panel. r8: distance to the next panel.</item>
/// <item>r9: groups left in the tile, then a pointer for the scales. r10: start values. r11: scales of the weight.</item>
/// <item>sums: rows × panels × chains registers. A small block has several chains of sums, so that one addition need not
/// wait for the last. Tiled kernels have rows × panels float32 totals besides.</item>
/// <item>one constant: 0x80 bytes, which turn signed codes into unsigned ones, or 0x0F bytes for half bytes.</item>
/// <item>one register (half bytes: two) a panel for weights; one for a row of the activations if panels share it.</item>
/// </list>
/// </remarks>
internal sealed class IntegerEmitter
{
    /// <summary>With so few rows, reading the weight takes the time. The processor does not look beyond a page; this does.</summary>
    private const int MostRowsOfReading = 4, PrefetchDistance = 2048;

    private static readonly int Saved = Offset(nameof(IntegerTileArgs.Saved));

    private readonly Assembler _asm;
    private readonly IntegerShape _shape;
    private readonly RegisterPlan _registers;
    private readonly DotProduct _dot;
    private readonly ScaleLoad _scales;
    private readonly AssemblerRegisterZMM[] _sums;
    private readonly AssemblerRegisterZMM[] _totals;
    private readonly AssemblerRegisterZMM[] _weights;
    private readonly AssemblerRegisterZMM _constant;
    private readonly AssemblerRegisterZMM _row;

    private IntegerEmitter(Assembler assembler, IntegerShape shape)
    {
        _asm = assembler;
        _shape = shape;
        _registers = new RegisterPlan(_asm, shape.IsWindows);
        _dot = new DotProduct(_asm, _registers, shape.HasVnni);
        _scales = new ScaleLoad(_asm, shape.Scales);
        _constant = _registers.Take();
        _row = _registers.Take();
        _weights = _registers.Take(shape.Panels * Halves);
        _sums = _registers.Take(Cells * Chains);
        _totals = shape.Tiled ? _registers.Take(Cells) : [];
    }

    /// <summary>Emits the kernel of a shape.</summary>
    /// <param name="assembler">Takes the code.</param>
    /// <param name="shape">The shape.</param>
    public static void Emit(Assembler assembler, IntegerShape shape) => new IntegerEmitter(assembler, shape).Emit();

    private int Halves => _shape.Format == CodeFormat.Int4 ? 2 : 1;

    private int Cells => _shape.Rows * _shape.Panels;

    private int Chains => Cells switch { 1 => 4, 2 or 3 => 2, _ => 1 };

    private void Emit()
    {
        _registers.Enter(Saved);
        _asm.mov(rcx, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.Activations))]);
        _asm.mov(rdx, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.Weights))]);
        _asm.mov(r8, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.PanelBytes))]);
        _asm.mov(r10, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.Start))]);
        _asm.mov(r11, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.WeightScales))]);
        _asm.mov(r9d, Halves == 2 ? 0x0F0F0F0F : unchecked((int)0x80808080));
        _asm.vpbroadcastd(_constant, r9d);
        foreach (var total in _totals)
            _asm.vpxord(total, total, total);

        var tile = _asm.CreateLabel();
        _asm.Label(ref tile);
        StartSums();
        GroupLoop();
        JoinChains();
        if (_shape.Tiled)
        {
            AddScaledTile();
            _asm.dec(__qword_ptr[rax + Offset(nameof(IntegerTileArgs.Tiles))]);
            _asm.jnz(tile);
        }
        Store();
        _registers.Leave(Saved);
    }

    private AssemblerRegisterZMM Sum(int row, int panel, int chain) => _sums[(chain * _shape.Panels + panel) * _shape.Rows + row];

    private void StartSums()
    {
        for (var row = 0; row < _shape.Rows; row++)
        {
            _asm.vpbroadcastd(Sum(row, 0, 0), __dword_ptr[r10 + 4 * row]);
            for (var panel = 1; panel < _shape.Panels; panel++)
                _asm.vmovdqa64(Sum(row, panel, 0), Sum(row, 0, 0));
        }
        for (var i = Cells; i < _sums.Length; i++)
            _asm.vpxord(_sums[i], _sums[i], _sums[i]);
        _asm.add(r10, 4 * _shape.Rows);
    }

    private void GroupLoop()
    {
        _asm.mov(r9, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.Groups))]);
        var loop = _asm.CreateLabel();
        _asm.Label(ref loop);
        for (var group = 0; group < _shape.Unroll; group++)
        {
            if (_shape.Rows <= MostRowsOfReading)
                _asm.prefetcht0(__byte_ptr[rdx + PrefetchDistance + group * 64]);
            LoadWeights(group * 64);
            for (var half = 0; half < Halves; half++)
                MultiplyRows(group * Halves + half, half);
        }
        _asm.add(rdx, 64 * _shape.Unroll);
        _asm.add(rcx, 4 * _shape.Rows * Halves * _shape.Unroll);
        _asm.sub(r9, _shape.Unroll);
        _asm.jnz(loop);
    }

    private void LoadWeights(int offset)
    {
        for (var panel = 0; panel < _shape.Panels; panel++)
        {
            var memory = panel switch
            {
                0 => __zmmword_ptr[rdx + offset],
                1 => __zmmword_ptr[rdx + r8 + offset],
                _ => __zmmword_ptr[rdx + r8 * 2 + offset],
            };
            var low = _weights[panel * Halves];
            if (Halves == 1)
            {
                _asm.vpxord(low, _constant, memory);
                continue;
            }
            var high = _weights[panel * Halves + 1];
            _asm.vmovdqu32(high, memory);
            _asm.vpandd(low, high, _constant);
            _asm.vpsrlw(high, high, 4);
            _asm.vpandd(high, high, _constant);
        }
    }

    private void MultiplyRows(int step, int half)
    {
        var chain = step % Chains;
        for (var row = 0; row < _shape.Rows; row++)
        {
            var offset = 4 * (step * _shape.Rows + row);
            if (_shape.Panels == 1 && _dot.TakesMemory)
            {
                _dot.Add(Sum(row, 0, chain), _weights[half], __dword_bcst[rcx + offset]);
                continue;
            }
            _asm.vpbroadcastd(_row, __dword_ptr[rcx + offset]);
            for (var panel = 0; panel < _shape.Panels; panel++)
                _dot.Add(Sum(row, panel, chain), _weights[panel * Halves + half], _row);
        }
    }

    private void JoinChains()
    {
        for (var chain = 1; chain < Chains; chain++)
            for (var cell = 0; cell < Cells; cell++)
                _asm.vpaddd(_sums[cell], _sums[cell], _sums[chain * Cells + cell]);
    }

    private void AddScaledTile()
    {
        var scale = _row;
        for (var panel = 0; panel < _shape.Panels; panel++)
        {
            if (panel == 0)
                _scales.Emit(_weights[0], r11 + 0);
            else
            {
                _asm.mov(r9, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.PanelScaleBytes))]);
                _scales.Emit(_weights[0], panel == 1 ? r11 + r9 : r11 + r9 * 2);
            }
            _asm.mov(r9, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.ActivationScales))]);
            for (var row = 0; row < _shape.Rows; row++)
            {
                var sum = Sum(row, panel, 0);
                _asm.vmulps(scale, _weights[0], __dword_bcst[r9 + 4 * row]);
                _asm.vcvtdq2ps(sum, sum);
                _asm.vfmadd231ps(_totals[panel * _shape.Rows + row], sum, scale);
            }
        }
        _asm.add(r11, _scales.Bytes);
        _asm.add(r9, 4 * _shape.Rows);
        _asm.mov(__qword_ptr[rax + Offset(nameof(IntegerTileArgs.ActivationScales))], r9);
    }

    private void Store()
    {
        _asm.mov(r9, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.Result))]);
        var results = _shape.Tiled ? _totals : _sums;
        for (var cell = 0; cell < Cells; cell++)
            _asm.vmovdqu32(__zmmword_ptr[r9 + 64 * cell], results[cell]);
    }

    private static int Offset(string field) => (int)System.Runtime.InteropServices.Marshal.OffsetOf<IntegerTileArgs>(field);
}
