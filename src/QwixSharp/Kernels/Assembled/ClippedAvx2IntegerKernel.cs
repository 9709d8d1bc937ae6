using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Avx2Paths;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Assembled;

/// <summary>
/// Products of byte codes with AVX2 code assembled at run time: three multiplications where words take four. A few codes are clipped for that, and
/// what was clipped is multiplied one by one: <see cref="ClippedPairs"/>.
/// </summary>
internal sealed unsafe class ClippedAvx2IntegerKernel : IntegerKernel
{
    private const int Columns = PackedWeight.PanelColumns, Half = 8;

    private const int RowsOfPart = ClippedEmitter.MostRows;
    private const int MostRows = 4 * RowsOfPart;

    /// <summary>Bytes of half the columns, unpacked for a part of K: 12 KB.</summary>
    private const int HalfBytes = ClippedPairs.StepsOfPart / 2 * ClippedEmitter.WeightBytes;

    private const int StepBytes = 64;

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
        rows > Avx2IntegerKernel.MostTogether && weight.Format == CodeFormat.Int8 && weight.Tiles == 1 && !weight.IsShortLived && weight.Clips is not null;

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
        var room = stackalloc byte[2 * HalfBytes + AlignedMemory.Alignment];
        var unpacked = AlignedMemory.RoundUp(room);
        var rests = stackalloc int[Columns * MostRows];
        var parts = stackalloc RowPart[MostRows / RowsOfPart];
        var steps = args->Groups;
        var sums = (int*)args->Result;
        var partCount = Split(args->Activations, steps, sums, rows, parts);
        var clips = args->Clips;
        var partsOfDepth = (steps + ClippedPairs.StepsOfPart - 1) / ClippedPairs.StepsOfPart;
        var hasRests = clips[0] != clips[partsOfDepth];
        new Span<int>(sums, rows * Columns).Clear();
        if (hasRests)
            new Span<int>(rests, Columns * MostRows).Clear();
        var codes = args->Weights;
        for (; steps > 0; steps -= ClippedPairs.StepsOfPart, clips++)
        {
            var count = Math.Min(ClippedPairs.StepsOfPart, steps);
            Unpack(codes, count, unpacked);
            for (var clip = clips[0]; clip < clips[1]; clip++)
                Apply(*clip, unpacked, parts, partCount, rests);
            codes += count * StepBytes;
            Multiply(parts, partCount, unpacked, count, codes);
        }
        if (hasRests)
            AddRests(rests, parts, partCount);
    }

    /// <summary>The rows that lie together.</summary>
    private struct RowPart
    {
        /// <summary>[step][row][4].</summary>
        public byte* Activations;

        /// <summary>[row][16].</summary>
        public int* Sums;

        public int Rows;
    }

    private static int Split(byte* activations, nint steps, int* sums, int rows, RowPart* parts)
    {
        var split = RowBlocks.Of(rows, RowsOfPart);
        for (var part = 0; part < split.Count; part++)
            parts[part] = new() { Activations = activations + split.Start(part) * steps * 4, Sums = sums + split.Start(part) * Columns, Rows = split.Size(part) };
        return split.Count;
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
    private static void Apply(uint clip, byte* unpacked, RowPart* parts, int partCount, int* rests)
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
        for (var part = 0; part < partCount; part++, sums += RowsOfPart)
        {
            // Where a part has fewer rows, what lies behind them gives sums that are not used.
            var rows = Vector256.Load(parts[part].Activations + step * parts[part].Rows * 4);
            (Avx2.MultiplyAddAdjacent(complement - Avx2.MultiplyAddAdjacent(rows, rest), ones) + Vector256.Load(sums)).Store(sums);
        }
    }

    /// <summary>Multiplies a part of K with all rows, and moves on to the next in them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply(RowPart* parts, int partCount, byte* unpacked, nint steps, byte* next)
    {
        SumsArgs args = default;
        args.Steps = steps;
        var ahead = steps * StepBytes / partCount;
        for (var part = parts; part < parts + partCount; part++, next += ahead)
        {
            SumsCode.ReadAhead(next, ahead);
            ref var entry = ref Entries[part->Rows];
            if (entry == 0)
                entry = (nint)Code.Get(new ClippedShape(part->Rows, OperatingSystem.IsWindows()));
            args.Activations = part->Activations;
            for (var half = 0; half < 2; half++)
            {
                args.Weights = unpacked + half * HalfBytes;
                args.Sums = part->Sums + half * Half;
                SumsCode.Run(entry, &args);
            }
            part->Activations += steps * part->Rows * 4;
        }
    }

    /// <summary>Adds [column][part][8] to [row][16].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddRests(int* rests, RowPart* parts, int partCount)
    {
        for (var part = 0; part < partCount; part++, rests += RowsOfPart)
            for (var row = 0; row < parts[part].Rows; row += 4)
                for (var column = 0; column < Columns; column += 4)
                    AddSquare(rests + column * MostRows + row, Math.Min(4, parts[part].Rows - row), parts[part].Sums + row * Columns + column);
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
