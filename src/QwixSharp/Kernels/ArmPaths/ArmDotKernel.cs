using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.ArmPaths;

/// <summary>A 128-bit dot product of signed bytes (Arm's <c>sdot</c>), or a stand-in for it.</summary>
internal interface ISignedDot
{
    /// <summary>The kernel's name in traces.</summary>
    static abstract string Name { get; }

    /// <summary>Whether this machine can run it.</summary>
    static abstract bool IsSupported { get; }

    /// <summary>To each lane of the sums, the four products of its signed bytes.</summary>
    /// <param name="sums">4 sums.</param>
    /// <param name="left">16 bytes.</param>
    /// <param name="right">16 bytes.</param>
    static abstract Vector128<int> Add(Vector128<int> sums, Vector128<sbyte> left, Vector128<sbyte> right);
}

/// <summary>The instruction of Armv8.2's dot product extension.</summary>
internal readonly struct ArmDot : ISignedDot
{
    /// <inheritdoc/>
    public static string Name => "arm dot";

    /// <inheritdoc/>
    public static bool IsSupported => Dp.IsSupported;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Add(Vector128<int> sums, Vector128<sbyte> left, Vector128<sbyte> right) => Dp.DotProduct(sums, left, right);
}

/// <summary>Plain AdvSimd: products of bytes are 16-bit words, whose pairs add up in 32 bits; exact for every code.</summary>
internal readonly struct AdvSimdDot : ISignedDot
{
    /// <inheritdoc/>
    public static string Name => "arm advsimd";

    /// <inheritdoc/>
    public static bool IsSupported => AdvSimd.Arm64.IsSupported;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Add(Vector128<int> sums, Vector128<sbyte> left, Vector128<sbyte> right)
    {
        var low = AdvSimd.AddPairwiseWidening(AdvSimd.MultiplyWideningLower(left.GetLower(), right.GetLower()));
        var high = AdvSimd.AddPairwiseWidening(AdvSimd.MultiplyWideningUpper(left, right));
        return sums + AdvSimd.Arm64.AddPairwise(low, high);
    }
}

/// <summary>
/// Integer products with a 128-bit dot product of signed bytes. A panel's 16 columns are four vectors; four rows at a time
/// take 16 registers of sums of the 32.
/// </summary>
/// <typeparam name="TDot">The instruction.</typeparam>
internal sealed unsafe class ArmDotKernel<TDot> : IntegerKernel
    where TDot : struct, ISignedDot
{
    private const int Columns = PackedWeight.PanelColumns;
    private const int Quarter = 16;

    /// <inheritdoc/>
    public override string Name => TDot.Name;

    /// <inheritdoc/>
    public override bool IsSupported => TDot.IsSupported;

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
        var sums = stackalloc int[4 * Columns];
        for (var panel = 0; panel < panels; panel++)
        {
            var weights = args->Weights + panel * args->PanelBytes;
            var result = (int*)args->Result + panel * rows * Columns;
            if (!tiled)
            {
                SumTile(args->Activations, weights, format, rows, args->Groups, args->Start, result);
                continue;
            }
            var scales = (float*)((byte*)args->WeightScales + panel * args->PanelScaleBytes);
            var activations = args->Activations;
            new Span<float>(result, rows * Columns).Clear();
            for (nint tile = 0; tile < args->Tiles; tile++)
            {
                SumTile(activations, weights, format, rows, args->Groups, args->Start + tile * rows, sums);
                AddScaled(sums, rows, scales + tile * Columns, args->ActivationScales + tile * rows, (float*)result);
                activations += args->Groups * rows * (format == CodeFormat.Int4 ? 8 : 4);
                weights += args->Groups * 64;
            }
        }
    }

    private static void SumTile(byte* a, byte* w, CodeFormat format, int rows, nint groups, int* start, int* sums)
    {
        if (format == CodeFormat.Int4)
            SumHalfBytes(a, w, rows, groups, start, sums);
        else if (rows == 4)
            SumFourRows(a, w, groups, start, sums);
        else
            SumBytes(a, w, rows, groups, start, sums);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumFourRows(byte* a, byte* w, nint groups, int* start, int* sums)
    {
        for (var quarter = 0; quarter < Columns; quarter += 8, w += 2 * Quarter)
        {
            var (first0, first1, first2, first3) = (Vector128.Create(start[0]), Vector128.Create(start[1]), Vector128.Create(start[2]), Vector128.Create(start[3]));
            var (second0, second1, second2, second3) = (first0, first1, first2, first3);
            for (nint group = 0; group < groups; group++)
            {
                var first = Vector128.Load((sbyte*)w + group * 64);
                var second = Vector128.Load((sbyte*)w + group * 64 + Quarter);
                var x = Word(a + group * 16);
                first0 = TDot.Add(first0, first, x);
                second0 = TDot.Add(second0, second, x);
                x = Word(a + group * 16 + 4);
                first1 = TDot.Add(first1, first, x);
                second1 = TDot.Add(second1, second, x);
                x = Word(a + group * 16 + 8);
                first2 = TDot.Add(first2, first, x);
                second2 = TDot.Add(second2, second, x);
                x = Word(a + group * 16 + 12);
                first3 = TDot.Add(first3, first, x);
                second3 = TDot.Add(second3, second, x);
            }
            Store(first0, second0, sums + quarter);
            Store(first1, second1, sums + Columns + quarter);
            Store(first2, second2, sums + 2 * Columns + quarter);
            Store(first3, second3, sums + 3 * Columns + quarter);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumBytes(byte* a, byte* w, int rows, nint groups, int* start, int* sums)
    {
        for (var row = 0; row < rows; row++, a += 4, sums += Columns)
        {
            var s0 = Vector128.Create(start[row]);
            var (s1, s2, s3) = (s0, s0, s0);
            for (nint group = 0; group < groups; group++)
            {
                var x = Word(a + group * rows * 4);
                var codes = (sbyte*)w + group * 64;
                s0 = TDot.Add(s0, Vector128.Load(codes), x);
                s1 = TDot.Add(s1, Vector128.Load(codes + Quarter), x);
                s2 = TDot.Add(s2, Vector128.Load(codes + 2 * Quarter), x);
                s3 = TDot.Add(s3, Vector128.Load(codes + 3 * Quarter), x);
            }
            Store(s0, s1, sums);
            Store(s2, s3, sums + 8);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumHalfBytes(byte* a, byte* w, int rows, nint groups, int* start, int* sums)
    {
        var mask = Vector128.Create((byte)15);
        for (var row = 0; row < rows; row++, a += 4, sums += Columns)
            for (var quarter = 0; quarter < 4; quarter++)
            {
                var low = Vector128.Create(start[row]);
                var high = Vector128<int>.Zero;
                for (nint group = 0; group < groups; group++)
                {
                    var codes = Vector128.Load(w + group * 64 + quarter * Quarter);
                    low = TDot.Add(low, (codes & mask).AsSByte(), Word(a + 2 * group * rows * 4));
                    high = TDot.Add(high, (codes >>> 4).AsSByte(), Word(a + (2 * group + 1) * rows * 4));
                }
                (low + high).Store(sums + quarter * 4);
            }
    }

    private static void AddScaled(int* sums, int rows, float* scales, float* rowScales, float* totals)
    {
        for (var row = 0; row < rows; row++)
            for (var i = 0; i < Columns; i += 4, sums += 4, totals += 4)
                (Vector128.Load(totals) + Vector128.ConvertToSingle(Vector128.Load(sums)) * (Vector128.Load(scales + i) * rowScales[row])).Store(totals);
    }

    private static void Store(Vector128<int> first, Vector128<int> second, int* to)
    {
        first.Store(to);
        second.Store(to + 4);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<sbyte> Word(byte* a) => Vector128.Create(*(int*)a).AsSByte();
}
