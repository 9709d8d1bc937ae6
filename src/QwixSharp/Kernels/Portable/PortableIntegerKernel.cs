using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Portable;

/// <summary>Integer products with 32-bit multiplications of the platform-neutral vectors; correct everywhere.</summary>
internal sealed unsafe class PortableIntegerKernel : IntegerKernel
{
    /// <inheritdoc/>
    public override string Name => "portable";

    /// <inheritdoc/>
    public override bool IsSupported => true;

    /// <inheritdoc/>
    public override ActivationForm Form(CodeFormat format) => ActivationForm.Bytes;

    /// <inheritdoc/>
    public override int WeightBias(CodeFormat format) => format == CodeFormat.Int4 ? 8 : 0;

    /// <inheritdoc/>
    public override int MaxRows(CodeFormat format, bool tiled) => 4;

    /// <inheritdoc/>
    public override int MaxPanels(CodeFormat format, bool tiled, int rows) => 1;

    /// <inheritdoc/>
    public override void Run(IntegerTileArgs* args, CodeFormat format, bool tiled, int rows, int panels)
    {
        for (var panel = 0; panel < panels; panel++)
            for (var row = 0; row < rows; row++)
                for (var half = 0; half < 2; half++)
                    RunHalf(args, format, tiled, rows, panel, row, half);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void RunHalf(IntegerTileArgs* args, CodeFormat format, bool tiled, int rows, int panel, int row, int half)
    {
        var weights = (int*)(args->Weights + panel * args->PanelBytes) + half * 8;
        var activations = (sbyte*)args->Activations + row * 4;
        var scales = (float*)((byte*)args->WeightScales + panel * args->PanelScaleBytes) + half * 8;
        var result = (float*)args->Result + (panel * rows + row) * PackedWeight.PanelColumns + half * 8;
        var total = Vector256<float>.Zero;
        for (nint tile = 0; tile < args->Tiles; tile++)
        {
            var sum = Vector256.Create(args->Start[tile * rows + row]);
            for (nint group = 0; group < args->Groups; group++, weights += 16)
            {
                var codes = Vector256.Load(weights);
                if (format == CodeFormat.Int8)
                {
                    for (var j = 0; j < 4; j++)
                        sum += ((codes << (24 - 8 * j)) >> 24) * activations[j];
                    activations += rows * 4;
                }
                else
                {
                    for (var j = 0; j < 4; j++)
                    {
                        sum += ((codes >>> (8 * j)) & Vector256.Create(15)) * activations[j];
                        sum += ((codes >>> (8 * j + 4)) & Vector256.Create(15)) * activations[rows * 4 + j];
                    }
                    activations += rows * 8;
                }
            }
            if (!tiled)
            {
                sum.Store((int*)result);
                return;
            }
            total += Vector256.ConvertToSingle(sum) * (Vector256.Load(scales) * args->ActivationScales[tile * rows + row]);
            scales += PackedWeight.PanelColumns;
        }
        total.Store(result);
    }
}
