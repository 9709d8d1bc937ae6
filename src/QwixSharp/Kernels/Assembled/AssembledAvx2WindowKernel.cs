using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Convolutions;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Assembled;

/// <summary>Convolutions with AVX2 code assembled at run time, on 16-bit words of both sides.</summary>
internal sealed unsafe class AssembledAvx2WindowKernel : WindowKernel
{
    private const int Columns = PackedWeight.PanelColumns;

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
    public override nint Find(in WindowCall call) => SumsCode.Find(SumsKind.Words, call.Windows, call.Step, 0);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Run(WindowArgs* args, in WindowCall call, nint found)
    {
        Vector256<int> left = Vector256.Load(args->Start), right = Vector256.Load(args->Start + 8);
        for (var window = 0; window < call.Windows; window++)
        {
            left.Store(args->Sums + window * Columns);
            right.Store(args->Sums + window * Columns + 8);
        }
        SumsArgs sums;
        Unsafe.SkipInit(out sums);
        sums.Weights = (byte*)args->Weights;
        sums.Sums = args->Sums;
        sums.StepBytes = 2 * sizeof(short);
        sums.Steps = 2 * args->Groups;
        for (nint segment = 0; segment < args->SegmentCount; segment++, sums.Weights += args->Groups * WideCodes.GroupBytes)
        {
            sums.Activations = args->Image + args->Segments[segment];
            SumsCode.Run(found, &sums);
        }
    }
}
