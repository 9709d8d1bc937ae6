using System.Runtime.InteropServices;
using Iced.Intel;
using QwixSharp.Kernels.Activations;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What distinguishes assembled kernels that join digit planes.</summary>
/// <param name="Groups">Groups of 64 bytes of half-byte codes in a tile.</param>
/// <param name="Scales">How the weight's scales are stored.</param>
/// <param name="Rows">Rows of x in the block; each is <see cref="DigitPlanes.Count"/> rows of digits.</param>
/// <param name="HasVnni">Whether to use <c>vpdpbusd</c> or its stand-in.</param>
/// <param name="IsWindows">The calling convention.</param>
internal readonly record struct PlanesShape(int Groups, FloatFormat Scales, int Rows, bool HasVnni, bool IsWindows);

/// <summary>
/// Emits the inner loop of int4 products of <see cref="DigitPlanes"/> in short tiles: one integer sum takes all digits of a
/// row, the highest first, and is multiplied by 256 before the next lower, so that a tile is scaled once and not once a plane.
/// </summary>
/// <remarks>
/// A sum of <see cref="MostDepth"/> values fits 32 bits: 127·(2¹⁶ + 2⁸ + 1) · 8 · 32 is below 2³¹. What wraps on the way, such as
/// the start values that take the codes' offset of 8 out, wraps back.
/// Register plan.
/// <list type="bullet">
/// <item>rax: args. rcx: activations. rdx: weights. r10: start values. r11: scales of the weight. r9: scales of the activations, tiles left in memory.</item>
/// <item>one constant: 0x0F bytes. weights: two registers a group, all codes of the tile, read once for the three planes.</item>
/// <item>sums and float32 totals: one of each a row. One register to work with.</item>
/// </list>
/// </remarks>
internal sealed class PlanesEmitter
{
    /// <summary>The most values of K in a tile.</summary>
    public const int MostDepth = 32;

    private static readonly int Saved = Offset(nameof(IntegerTileArgs.Saved));

    private readonly Assembler _asm;
    private readonly PlanesShape _shape;
    private readonly RegisterPlan _registers;
    private readonly DotProduct _dot;
    private readonly ScaleLoad _scales;
    private readonly AssemblerRegisterZMM[] _weights;
    private readonly AssemblerRegisterZMM[] _sums;
    private readonly AssemblerRegisterZMM[] _totals;
    private readonly AssemblerRegisterZMM _constant;
    private readonly AssemblerRegisterZMM _work;

    private PlanesEmitter(Assembler assembler, PlanesShape shape)
    {
        _asm = assembler;
        _shape = shape;
        _registers = new RegisterPlan(_asm, shape.IsWindows);
        _dot = new DotProduct(_asm, _registers, shape.HasVnni);
        _scales = new ScaleLoad(_asm, shape.Scales);
        _constant = _registers.Take();
        _work = _registers.Take();
        _weights = _registers.Take(2 * shape.Groups);
        _sums = _registers.Take(shape.Rows);
        _totals = _registers.Take(shape.Rows);
    }

    /// <summary>The most rows of x that the registers hold.</summary>
    /// <param name="hasVnni">Whether <c>vpdpbusd</c> is there.</param>
    public static int MostRows(bool hasVnni) => hasVnni ? 11 : 9;

    /// <summary>Emits the kernel of a shape.</summary>
    /// <param name="assembler">Takes the code.</param>
    /// <param name="shape">The shape.</param>
    public static void Emit(Assembler assembler, PlanesShape shape) => new PlanesEmitter(assembler, shape).Emit();

    private int PlaneRows => _shape.Rows * DigitPlanes.Count;

    private void Emit()
    {
        _registers.Enter(Saved);
        _asm.mov(rcx, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.Activations))]);
        _asm.mov(rdx, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.Weights))]);
        _asm.mov(r10, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.Start))]);
        _asm.mov(r11, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.WeightScales))]);
        _asm.mov(r9d, 0x0F0F0F0F);
        _asm.vpbroadcastd(_constant, r9d);
        _asm.mov(r9, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.ActivationScales))]);
        foreach (var total in _totals)
            _asm.vpxord(total, total, total);

        var tile = _asm.CreateLabel();
        _asm.Label(ref tile);
        LoadWeights();
        for (var plane = 0; plane < DigitPlanes.Count; plane++)
        {
            StartPlane(plane);
            MultiplyRows(plane);
        }
        AddScaledTile();
        _asm.add(rdx, 64 * _shape.Groups);
        _asm.add(rcx, 8 * _shape.Groups * PlaneRows);
        _asm.add(r10, 4 * PlaneRows);
        _asm.add(r9, 4 * PlaneRows);
        _asm.add(r11, _scales.Bytes);
        _asm.dec(__qword_ptr[rax + Offset(nameof(IntegerTileArgs.Tiles))]);
        _asm.jnz(tile);
        Store();
        _registers.Leave(Saved);
    }

    private void LoadWeights()
    {
        for (var group = 0; group < _shape.Groups; group++)
        {
            var (low, high) = (_weights[2 * group], _weights[2 * group + 1]);
            _asm.vmovdqu32(high, __zmmword_ptr[rdx + 64 * group]);
            _asm.vpandd(low, high, _constant);
            _asm.vpsrlw(high, high, 4);
            _asm.vpandd(high, high, _constant);
        }
    }

    private void StartPlane(int plane)
    {
        for (var row = 0; row < _shape.Rows; row++)
        {
            var start = r10 + 4 * (row * DigitPlanes.Count + plane);
            if (plane == 0)
            {
                _asm.vpbroadcastd(_sums[row], __dword_ptr[start]);
                continue;
            }
            _asm.vpslld(_sums[row], _sums[row], 8);
            _asm.vpaddd(_sums[row], _sums[row], __dword_bcst[start]);
        }
    }

    private void MultiplyRows(int plane)
    {
        for (var step = 0; step < _weights.Length; step++)
            for (var row = 0; row < _shape.Rows; row++)
            {
                var digits = rcx + 4 * (step * PlaneRows + row * DigitPlanes.Count + plane);
                if (_dot.TakesMemory)
                {
                    _dot.Add(_sums[row], _weights[step], __dword_bcst[digits]);
                    continue;
                }
                _asm.vpbroadcastd(_work, __dword_ptr[digits]);
                _dot.Add(_sums[row], _weights[step], _work);
            }
    }

    private void AddScaledTile()
    {
        var scales = _weights[0];
        _scales.Emit(scales, r11 + 0);
        for (var row = 0; row < _shape.Rows; row++)
        {
            _asm.vmulps(_work, scales, __dword_bcst[r9 + 4 * (row * DigitPlanes.Count + DigitPlanes.Count - 1)]);
            _asm.vcvtdq2ps(_sums[row], _sums[row]);
            _asm.vfmadd231ps(_totals[row], _sums[row], _work);
        }
    }

    private void Store()
    {
        _asm.mov(r9, __qword_ptr[rax + Offset(nameof(IntegerTileArgs.Result))]);
        for (var row = 0; row < _shape.Rows; row++)
            _asm.vmovups(__zmmword_ptr[r9 + 64 * row], _totals[row]);
    }

    private static int Offset(string field) => (int)Marshal.OffsetOf<IntegerTileArgs>(field);
}
