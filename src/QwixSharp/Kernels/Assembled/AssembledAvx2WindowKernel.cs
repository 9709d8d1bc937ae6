using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Kernels.Assembled;

/// <summary>Convolutions with AVX2 code assembled at run time, on 16-bit words of both sides.</summary>
internal sealed unsafe class AssembledAvx2WindowKernel : WindowKernel
{
    /// <inheritdoc/>
    public override string Name => "avx2 (assembled)";

    /// <inheritdoc/>
    public override bool IsSupported => AssembledMachine.IsAvailable;

    /// <inheritdoc/>
    public override bool TakesWords => true;

    /// <inheritdoc/>
    public override int MostWindows => SumsEmitter.MostRows;

    /// <inheritdoc/>
    public override int MostPanels(int windows) => 1;

    /// <inheritdoc/>
    public override long PanelRoom(SegmentedWeight weight) => weight.PanelBytes * sizeof(short);

    /// <inheritdoc/>
    public override PreparedPanel Prepare(SegmentedWeight weight, int place, nint* segments, byte* room)
    {
        WideCodes.UnpackInOrder(weight.Codes + place * weight.PanelBytes, (nint)weight.PanelBytes / 64, (short*)room);
        return new() { Codes = (sbyte*)room };
    }

    /// <inheritdoc/>
    public override nint Find(in WindowCall call) => SumsCode.Find(call.Windows, call.Step);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Run(WindowArgs* args, in WindowCall call, nint found)
    {
        SumsArgs sums;
        Unsafe.SkipInit(out sums);
        sums.Weights = (byte*)args->Weights;
        sums.Activations = args->Image;
        sums.Segments = args->Segments;
        sums.SegmentCount = args->SegmentCount;
        sums.StepBytes = 2 * sizeof(short);
        sums.Steps = 2 * args->Groups;
        sums.Start = args->Start;
        sums.Sums = args->Sums;
        SumsCode.Run(found, &sums);
    }
}
