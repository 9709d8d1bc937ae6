using Iced.Intel;
using QwixSharp.Kernels.Weights;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Kernels.Assembled;

/// <summary>Emits the reading of sixteen scales of a weight as float32.</summary>
/// <param name="assembler">Takes the code.</param>
/// <param name="format">How the scales are stored.</param>
internal readonly struct ScaleLoad(Assembler assembler, FloatFormat format)
{
    /// <summary>The bytes of sixteen scales.</summary>
    public int Bytes => PackedWeight.PanelColumns * NarrowScales.ElementSize(format);

    /// <summary>Sixteen scales to a register.</summary>
    /// <param name="target">The register.</param>
    /// <param name="address">Where they are.</param>
    public void Emit(AssemblerRegisterZMM target, AssemblerMemoryOperand address)
    {
        switch (format)
        {
            case FloatFormat.Float16:
                assembler.vcvtph2ps(target, __ymmword_ptr[address]);
                break;
            case FloatFormat.BFloat16:
                assembler.vpmovzxwd(target, __ymmword_ptr[address]);
                assembler.vpslld(target, target, 16);
                break;
            default:
                assembler.vmovups(target, __zmmword_ptr[address]);
                break;
        }
    }
}
