using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Assembled;

/// <summary>
/// Products of byte codes with AVX2 code assembled at run time: three multiplications where words take four. A few codes are clipped for that, and
/// what was clipped is multiplied one by one: <see cref="ClippedPairs"/>.
/// </summary>
internal sealed unsafe class ClippedAvx2IntegerKernel : IntegerKernel
{
    private const int Columns = PackedWeight.PanelColumns, Half = 8;

    /// <summary>Up to so many rows, <see cref="Avx2Paths.Avx2IntegerKernel"/> does not unpack.</summary>
    private const int FewRows = 4;

    private const int RowsOfPart = ClippedEmitter.MostRows;
    private const int MostRows = 4 * RowsOfPart;

    /// <summary>Bytes of half the columns, unpacked for a part of K: 12 KB.</summary>
    private const int HalfBytes = ClippedPairs.StepsOfPart / 2 * ClippedEmitter.WeightBytes;

    private const int StepBytes = 64, CacheLine = 64;

    private static readonly CodeCache<ClippedShape> Code = new(ClippedEmitter.Emit);

    /// <summary>Entries by rows.</summary>
    private static readonly nint[] Entries = new nint[RowsOfPart + 1];

    /// <inheritdoc/>
    public override string Name => "avx2 (assembled, clipped)";

    /// <inheritdoc/>
    public override bool IsSupported => AssembledMachine.IsAvailable;

    /// <inheritdoc/>
    public override bool IsGeneral => false;

    /// <inheritdoc/>
    public override bool Serves(PackedWeight weight, int rows) =>
        rows > FewRows && weight.Format == CodeFormat.Int8 && weight.Tiles == 1 && !weight.IsShortLived && weight.Clips is not null;

    /// <inheritdoc/>
    public override ActivationForm Form(CodeFormat format) => ActivationForm.Complements;

    /// <inheritdoc/>
    public override int WeightBias(CodeFormat format) => 0;

    /// <inheritdoc/>
    public override int MaxRows(CodeFormat format, bool tiled) => MostRows;

    /// <inheritdoc/>
    public override int RowsTogether => RowsOfPart;

    /// <inheritdoc/>
    public override int MaxPanels(CodeFormat format, bool tiled, int rows) => 1;

    /// <inheritdoc/>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Run(IntegerTileArgs* args, CodeFormat format, bool tiled, int rows, int panels)
    {
        var room = stackalloc byte[2 * HalfBytes + CacheLine];
        var unpacked = (byte*)(((nint)room + CacheLine - 1) & ~(nint)(CacheLine - 1));
        var rests = stackalloc int[Columns * MostRows];
        var sums = (int*)args->Result;
        new Span<int>(sums, rows * Columns).Clear();
        var parts = RowBlocks.Of(rows, RowsOfPart);
        var steps = args->Groups;
        var partsOfDepth = (steps + ClippedPairs.StepsOfPart - 1) / ClippedPairs.StepsOfPart;
        var hasRests = args->Clips[0] != args->Clips[partsOfDepth];
        if (hasRests)
            new Span<int>(rests, Columns * MostRows).Clear();
        for (nint part = 0; part < partsOfDepth; part++)
        {
            var first = part * ClippedPairs.StepsOfPart;
            var count = Math.Min(ClippedPairs.StepsOfPart, steps - first);
            Unpack(args->Weights + first * StepBytes, count, unpacked);
            for (var clip = args->Clips[part]; clip < args->Clips[part + 1]; clip++)
                Apply(*clip, unpacked, args->Activations, parts, steps, first, rests);
            Multiply(args->Activations, unpacked, parts, steps, first, count, sums, args->Weights + (first + count) * StepBytes);
        }
        if (hasRests)
            AddRests(rests, parts, sums);
    }

    /// <summary>Codes of two steps after another, and 127 times what a lane sums: [half of the columns][pair of steps].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Unpack(byte* codes, nint steps, byte* unpacked)
    {
        var factor = Vector256.Create((byte)127);
        for (; steps > 0; steps -= 2, codes += 2 * StepBytes, unpacked += ClippedEmitter.WeightBytes)
        {
            UnpackHalf(codes, factor, unpacked);
            UnpackHalf(codes + StepBytes / 2, factor, unpacked + HalfBytes);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void UnpackHalf(byte* codes, Vector256<byte> factor, byte* unpacked)
    {
        var first = Vector256.Load((sbyte*)codes);
        var second = Vector256.Load((sbyte*)codes + StepBytes);
        first.Store((sbyte*)unpacked);
        second.Store((sbyte*)unpacked + 32);
        (Avx2.MultiplyAddAdjacent(factor, first) + Avx2.MultiplyAddAdjacent(factor, second)).Store((short*)unpacked + 32);
    }

    /// <summary>Takes a clip off the unpacked codes and adds its products to the rests.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Apply(uint clip, byte* unpacked, byte* activations, RowBlocks parts, nint steps, nint firstStep, int* rests)
    {
        var column = (nint)(clip & 15);
        var step = (nint)(clip >> 4 & 255);
        // The codes 0 and 2 of four, as words and as bytes.
        var words = Vector128.CreateScalar(clip >> 16 & 255 | clip >> 24 << 16).AsInt16();
        var products = ((words << 8) >> 8) * 127;
        var place = unpacked + column / Half * HalfBytes + step / 2 * ClippedEmitter.WeightBytes + column % Half * 4;
        var codes = (int*)(place + step % 2 * 32);
        *codes = (Vector128.CreateScalar(*codes).AsSByte() - words.AsSByte()).AsInt32().ToScalar();
        var offset = (int*)(place + 64);
        *offset = (Vector128.CreateScalar(*offset).AsInt16() - products).AsInt32().ToScalar();

        var rest = Vector256.Create(words.AsInt32().ToScalar()).AsSByte();
        var complement = Vector256.Create(products.AsInt32().ToScalar()).AsInt16();
        var ones = Vector256<short>.One;
        var sums = rests + column * MostRows;
        for (var part = 0; part < parts.Count; part++, sums += RowsOfPart)
        {
            // Where a part has fewer rows, what lies behind them gives sums that are not used.
            var rows = Vector256.Load(activations + (parts.Start(part) * steps + (firstStep + step) * parts.Size(part)) * 4);
            (Avx2.MultiplyAddAdjacent(complement - Avx2.MultiplyAddAdjacent(rows, rest), ones) + Vector256.Load(sums)).Store(sums);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply(byte* activations, byte* unpacked, RowBlocks parts, nint steps, nint firstStep, nint count, int* sums, byte* next)
    {
        SumsArgs args = default;
        args.Steps = count;
        var ahead = count * StepBytes / (2 * parts.Count);
        for (var half = 0; half < 2; half++)
            for (var part = 0; part < parts.Count; part++)
            {
                var (first, rows) = (parts.Start(part), parts.Size(part));
                ref var entry = ref Entries[rows];
                if (entry == 0)
                    entry = (nint)Code.Get(new ClippedShape(rows, OperatingSystem.IsWindows()));
                SumsCode.ReadAhead(next, ahead);
                next += ahead;
                args.Weights = unpacked + half * HalfBytes;
                args.Activations = activations + (first * steps + firstStep * rows) * 4;
                args.Sums = sums + first * Columns + half * Half;
                SumsCode.Run(entry, &args);
            }
    }

    /// <summary>Adds [column][part][8] to [row][16].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddRests(int* rests, RowBlocks parts, int* sums)
    {
        for (var part = 0; part < parts.Count; part++, rests += RowsOfPart)
            for (var row = 0; row < parts.Size(part); row += 4)
                for (var column = 0; column < Columns; column += 4)
                    AddSquare(rests + column * MostRows + row, Math.Min(4, parts.Size(part) - row), sums + (parts.Start(part) + row) * Columns + column);
    }

    private static void AddSquare(int* columns, int rows, int* sums)
    {
        Vector128<int> c0 = Vector128.Load(columns), c1 = Vector128.Load(columns + MostRows), c2 = Vector128.Load(columns + 2 * MostRows), c3 = Vector128.Load(columns + 3 * MostRows);
        var a = Sse2.UnpackLow(c0, c1).AsInt64();
        var b = Sse2.UnpackLow(c2, c3).AsInt64();
        var c = Sse2.UnpackHigh(c0, c1).AsInt64();
        var d = Sse2.UnpackHigh(c2, c3).AsInt64();
        Add(Sse2.UnpackLow(a, b), sums);
        if (rows > 1)
            Add(Sse2.UnpackHigh(a, b), sums + Columns);
        if (rows > 2)
            Add(Sse2.UnpackLow(c, d), sums + 2 * Columns);
        if (rows > 3)
            Add(Sse2.UnpackHigh(c, d), sums + 3 * Columns);

        static void Add(Vector128<long> values, int* sums) => (values.AsInt32() + Vector128.Load(sums)).Store(sums);
    }
}
