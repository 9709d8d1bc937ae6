using Iced.Intel;
using QwixSharp.Kernels.Convolutions;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What distinguishes assembled kernels of convolutions.</summary>
/// <param name="Windows">Windows side by side.</param>
/// <param name="Panels">Panels of 16 output channels.</param>
/// <param name="Unroll">Groups of four codes in one turn of the inner loop; divides the groups of a segment.</param>
/// <param name="Step">Bytes from one window to the next.</param>
/// <param name="HasVnni">Whether to use <c>vpdpbusd</c> or its stand-in.</param>
/// <param name="IsWindows">The calling convention.</param>
internal readonly record struct WindowShape(int Windows, int Panels, int Unroll, int Step, bool HasVnni, bool IsWindows);

/// <summary>
/// Emits the inner loops of convolutions: windows × panels sums of 16 channels in registers, over the groups of all segments.
/// </summary>
/// <remarks>
/// Register plan.
/// <list type="bullet">
/// <item>rax: args. rcx: codes of the first window. rdx: weights of the first panel. r8: distance to the next panel, r11: three
/// times that.</item>
/// <item>r9: turns left in the segment. r10: distances of the segments.</item>
/// <item>sums: windows × panels registers.</item>
/// <item>one register a panel for weights, as far as there are; the last panel's come from memory otherwise.</item>
/// <item>one register for four codes of a window.</item>
/// </list>
/// The codes of the image are the unsigned operand, so that neither they nor the weights need to be changed here: what makes
/// them unsigned is in the start values, which are the same for all windows.
/// </remarks>
internal sealed class WindowEmitter
{
    private const int Registers = 32;

    private static readonly int Saved = Offset(nameof(WindowArgs.Saved));

    private readonly Assembler _asm;
    private readonly WindowShape _shape;
    private readonly RegisterPlan _registers;
    private readonly DotProduct _dot;
    private readonly AssemblerRegisterZMM _codes;
    private readonly AssemblerRegisterZMM[] _weights;
    private readonly AssemblerRegisterZMM[] _sums;

    private WindowEmitter(Assembler assembler, WindowShape shape)
    {
        _asm = assembler;
        _shape = shape;
        _registers = new RegisterPlan(_asm, shape.IsWindows);
        _dot = new DotProduct(_asm, _registers, shape.HasVnni);
        _codes = _registers.Take();
        var sums = shape.Windows * shape.Panels;
        _weights = _registers.Take(shape.HasVnni ? Math.Min(shape.Panels, Registers - 1 - sums) : shape.Panels);
        _sums = _registers.Take(sums);
    }

    /// <summary>Emits the kernel of a shape.</summary>
    /// <param name="assembler">Takes the code.</param>
    /// <param name="shape">The shape.</param>
    public static void Emit(Assembler assembler, WindowShape shape) => new WindowEmitter(assembler, shape).Emit();

    private AssemblerRegisterZMM Sum(int window, int panel) => _sums[panel * _shape.Windows + window];

    private void Emit()
    {
        _registers.Enter(Saved);
        _asm.mov(rdx, __qword_ptr[rax + Offset(nameof(WindowArgs.Weights))]);
        _asm.mov(r8, __qword_ptr[rax + Offset(nameof(WindowArgs.PanelBytes))]);
        _asm.mov(r10, __qword_ptr[rax + Offset(nameof(WindowArgs.Segments))]);
        _asm.lea(r11, __[r8 + r8 * 2]);
        StartSums();

        var segment = _asm.CreateLabel();
        var turn = _asm.CreateLabel();
        _asm.Label(ref segment);
        _asm.mov(rcx, __qword_ptr[rax + Offset(nameof(WindowArgs.Image))]);
        _asm.add(rcx, __qword_ptr[r10]);
        _asm.mov(r9, __qword_ptr[rax + Offset(nameof(WindowArgs.Groups))]);
        _asm.Label(ref turn);
        for (var group = 0; group < _shape.Unroll; group++)
            Multiply(group);
        _asm.add(rcx, 4 * _shape.Unroll);
        _asm.add(rdx, 64 * _shape.Unroll);
        _asm.sub(r9, _shape.Unroll);
        _asm.jnz(turn);
        _asm.add(r10, 8);
        _asm.dec(__qword_ptr[rax + Offset(nameof(WindowArgs.SegmentCount))]);
        _asm.jnz(segment);

        _asm.mov(r9, __qword_ptr[rax + Offset(nameof(WindowArgs.Sums))]);
        for (var sum = 0; sum < _sums.Length; sum++)
            _asm.vmovdqu32(__zmmword_ptr[r9 + 64 * sum], _sums[sum]);
        _registers.Leave(Saved);
    }

    private void StartSums()
    {
        _asm.mov(r9, __qword_ptr[rax + Offset(nameof(WindowArgs.Start))]);
        for (var panel = 0; panel < _shape.Panels; panel++)
        {
            _asm.vmovdqu32(Sum(0, panel), __zmmword_ptr[r9 + 64 * panel]);
            for (var window = 1; window < _shape.Windows; window++)
                _asm.vmovdqa64(Sum(window, panel), Sum(0, panel));
        }
    }

    private void Multiply(int group)
    {
        for (var panel = 0; panel < _weights.Length; panel++)
            _asm.vmovdqu32(_weights[panel], Weights(panel, group));
        for (var window = 0; window < _shape.Windows; window++)
        {
            _asm.vpbroadcastd(_codes, __dword_ptr[rcx + window * _shape.Step + 4 * group]);
            for (var panel = 0; panel < _shape.Panels; panel++)
            {
                if (panel < _weights.Length)
                    _dot.Add(Sum(window, panel), _codes, _weights[panel]);
                else
                    _dot.Add(Sum(window, panel), _codes, Weights(panel, group));
            }
        }
    }

    private AssemblerMemoryOperand Weights(int panel, int group) => panel switch
    {
        0 => __zmmword_ptr[rdx + 64 * group],
        1 => __zmmword_ptr[rdx + r8 + 64 * group],
        2 => __zmmword_ptr[rdx + r8 * 2 + 64 * group],
        _ => __zmmword_ptr[rdx + r11 + 64 * group],
    };

    private static int Offset(string field) => (int)System.Runtime.InteropServices.Marshal.OffsetOf<WindowArgs>(field);
}
