using Iced.Intel;
using QwixSharp.Kernels.Convolutions;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What distinguishes assembled kernels of depthwise convolutions.</summary>
/// <param name="Windows">Windows side by side.</param>
/// <param name="Stride">Pixels from one window to the next.</param>
/// <param name="Taps">The kernel's columns.</param>
/// <param name="PixelBytes">Bytes from one pixel to the next.</param>
/// <param name="HasVnni">Whether to use <c>vpdpbusd</c> or its stand-in.</param>
/// <param name="IsWindows">The calling convention.</param>
internal readonly record struct DepthwiseShape(int Windows, int Stride, int Taps, int PixelBytes, bool HasVnni, bool IsWindows);

/// <summary>
/// Emits the inner loop of a depthwise convolution: sums of 16 channels of windows side by side in registers, over the rows of the
/// kernel.
/// </summary>
/// <remarks>
/// Register plan.
/// <list type="bullet">
/// <item>rax: args. rcx: the first window's pixel in a row. rdx: weights of the row. r9: a distance, where sums start or go. r10:
/// distances of the rows.</item>
/// <item>sums: one register a window.</item>
/// <item>weights: one register for four columns of the kernel, four bytes a channel.</item>
/// <item>four: each channel's codes of four pixels in its four bytes, the leftmost one lowest. From one pixel to that on its left, it
/// is shifted by a byte and the new pixel comes in below. pixel: that pixel's codes, a word each.</item>
/// </list>
/// So a pixel is loaded once for all windows of a row, and three instructions make it ready for all products.
/// </remarks>
internal sealed class DepthwiseEmitter
{
    private static readonly int Saved = Offset(nameof(WindowArgs.Saved));

    private readonly Assembler _asm;
    private readonly DepthwiseShape _shape;
    private readonly RegisterPlan _registers;
    private readonly DotProduct _dot;
    private readonly AssemblerRegisterZMM _four;
    private readonly AssemblerRegisterZMM _pixel;
    private readonly AssemblerRegisterZMM[] _weights;
    private readonly AssemblerRegisterZMM[] _sums;

    private DepthwiseEmitter(Assembler assembler, DepthwiseShape shape)
    {
        _asm = assembler;
        _shape = shape;
        _registers = new RegisterPlan(_asm, shape.IsWindows);
        _dot = new DotProduct(_asm, _registers, shape.HasVnni);
        _four = _registers.Take();
        _pixel = _registers.Take();
        _weights = _registers.Take((shape.Taps + 3) / 4);
        _sums = _registers.Take(shape.Windows);
    }

    /// <summary>Emits the kernel of a shape.</summary>
    /// <param name="assembler">Takes the code.</param>
    /// <param name="shape">The shape.</param>
    public static void Emit(Assembler assembler, DepthwiseShape shape) => new DepthwiseEmitter(assembler, shape).Emit();

    private void Emit()
    {
        _registers.Enter(Saved);
        _asm.mov(rdx, __qword_ptr[rax + Offset(nameof(WindowArgs.Weights))]);
        _asm.mov(r10, __qword_ptr[rax + Offset(nameof(WindowArgs.Segments))]);
        _asm.mov(r9, __qword_ptr[rax + Offset(nameof(WindowArgs.Start))]);
        _asm.vmovdqu32(_sums[0], __zmmword_ptr[r9]);
        foreach (var sum in _sums.AsSpan(1))
            _asm.vmovdqa64(sum, _sums[0]);

        var row = _asm.CreateLabel();
        _asm.Label(ref row);
        _asm.mov(rcx, __qword_ptr[rax + Offset(nameof(WindowArgs.Image))]);
        _asm.add(rcx, __qword_ptr[r10]);
        MultiplyRow();
        _asm.add(rdx, 64 * _weights.Length);
        _asm.add(r10, 8);
        _asm.dec(__qword_ptr[rax + Offset(nameof(WindowArgs.SegmentCount))]);
        _asm.jnz(row);

        _asm.mov(r9, __qword_ptr[rax + Offset(nameof(WindowArgs.Sums))]);
        for (var sum = 0; sum < _sums.Length; sum++)
            _asm.vmovdqu32(__zmmword_ptr[r9 + 64 * sum], _sums[sum]);
        _registers.Leave(Saved);
    }

    private void MultiplyRow()
    {
        for (var i = 0; i < _weights.Length; i++)
            _asm.vmovdqu32(_weights[i], __zmmword_ptr[rdx + 64 * i]);
        var last = (_shape.Windows - 1) * _shape.Stride + _shape.Taps - 1;
        for (var pixel = last; pixel >= 0; pixel--)
        {
            _asm.vpmovzxbd(pixel == last ? _four : _pixel, __xmmword_ptr[rcx + pixel * _shape.PixelBytes]);
            if (pixel < last)
            {
                _asm.vpslld(_four, _four, 8);
                _asm.vpord(_four, _four, _pixel);
            }
            // What is right of a window meets weights of 0.
            for (var i = 0; i < _weights.Length; i++)
            {
                var (window, between) = Math.DivRem(pixel - 4 * i, _shape.Stride);
                if (pixel >= 4 * i && between == 0 && window < _sums.Length)
                    _dot.Add(_sums[window], _four, _weights[i]);
            }
        }
    }

    private static int Offset(string field) => (int)System.Runtime.InteropServices.Marshal.OffsetOf<WindowArgs>(field);
}
