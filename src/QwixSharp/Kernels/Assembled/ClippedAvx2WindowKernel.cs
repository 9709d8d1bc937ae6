using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Kernels.Assembled;

/// <summary>
/// Convolutions with AVX2 code assembled at run time, on bytes of both sides: three multiplications where words take four. What must be clipped off the weight for
/// that is multiplied apart: <see cref="ClippedPanels"/>.
/// </summary>
/// <param name="forNarrow">For images of 7 bits, which need fewer clips and an addition less.</param>
internal sealed unsafe class ClippedAvx2WindowKernel(bool forNarrow) : WindowKernel
{
    private const int Half = 8, HalfBytes = 32;

    private static readonly CodeCache<ClippedWindowShape> Code = new(ClippedWindowEmitter.Emit);

    /// <inheritdoc/>
    public override string Name => forNarrow ? "avx2 (assembled, 7 bits)" : "avx2 (assembled, clipped)";

    /// <inheritdoc/>
    public override bool IsSupported => AssembledMachine.IsAvailable;

    /// <inheritdoc/>
    public override bool IsGeneral => false;

    /// <inheritdoc/>
    public override int MostWindows => ClippedWindowEmitter.MostWindows;

    /// <inheritdoc/>
    public override bool Serves(SegmentedWeight weight, bool isNarrow) => (isNarrow || !forNarrow) && weight.Clipped(forNarrow) is not null;

    /// <inheritdoc/>
    public override int MostPanels(int windows) => 1;

    /// <inheritdoc/>
    public override long PanelRoom(SegmentedWeight weight) => weight.Clipped(forNarrow)!.Room;

    /// <inheritdoc/>
    public override PreparedPanel Prepare(SegmentedWeight weight, int place, nint* segments, byte* room) => weight.Clipped(forNarrow)!.Prepare(place, segments, room);

    /// <inheritdoc/>
    public override int* Start(SegmentedWeight weight) => weight.Clipped(forNarrow)!.Start;

    /// <inheritdoc/>
    public override nint Find(in WindowCall call) => (nint)Code.Get(new ClippedWindowShape(call.Windows, call.Step, forNarrow, OperatingSystem.IsWindows()));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Run(WindowArgs* args, in WindowCall call, nint found)
    {
        ClippedWindowArgs half;
        Unsafe.SkipInit(out half);
        half.Image = args->Image;
        half.Groups = args->Groups;
        half.RestCount = 0;
        for (var i = 0; i < 2; i++)
        {
            half.Segments = args->Segments;
            half.SegmentCount = args->SegmentCount;
            half.Weights = args->Weights + i * (forNarrow ? HalfBytes : args->SegmentCount * args->Groups / 2 * ClippedPanels.PairBytes);
            half.Start = args->Start + i * Half;
            half.Sums = args->Sums + i * Half;
            if (args->Panel != null)
            {
                var before = i == 0 ? 0 : args->Panel->FirstRests;
                half.RestPlaces = args->Panel->RestPlaces + before;
                half.Rests = args->Panel->Rests + before * HalfBytes;
                half.RestCount = i == 0 ? args->Panel->FirstRests : args->Panel->OtherRests;
            }
            ((delegate* unmanaged[SuppressGCTransition]<ClippedWindowArgs*, void>)found)(&half);
        }
    }
}
