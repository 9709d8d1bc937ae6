using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Activations;

namespace QwixSharp.Kernels.Assembled;

/// <summary>Runs the kernels of <see cref="SumsEmitter"/> on blocks of more rows than registers hold.</summary>
internal static unsafe class SumsCode
{
    private const int WordBytes = 4, Columns = 16, CacheLine = 64;

    private static readonly CodeCache<SumsShape> Code = new(SumsEmitter.Emit);

    /// <summary>Entries by kind and rows: a block is too short a work for a dictionary.</summary>
    private static readonly nint[] Entries = new nint[2 << 3];

    /// <summary>The kernel of a convolution.</summary>
    /// <param name="windows">Windows, up to <see cref="SumsEmitter.MostRows"/>.</param>
    /// <param name="step">From one window to the next, in bytes.</param>
    public static nint Find(int windows, int step) => Made(new SumsShape(SumsKind.Words, windows, step, HasSegments: true, OperatingSystem.IsWindows()));

    /// <summary>Runs a kernel.</summary>
    /// <param name="kernel">What <see cref="Find"/> gave.</param>
    /// <param name="args">The operands.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Run(nint kernel, SumsArgs* args) => ((delegate* unmanaged[SuppressGCTransition]<SumsArgs*, void>)kernel)(args);

    /// <summary>Runs over a block of rows, of which as many lie beside each other as registers hold: [part of the rows][step][row of the part].</summary>
    /// <param name="kind">What is multiplied.</param>
    /// <param name="block">The operands of the whole block.</param>
    /// <param name="rows">Its rows.</param>
    /// <param name="allSteps">The steps of a row.</param>
    /// <param name="firstStep">The first that is taken.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RunBlock(SumsKind kind, in SumsArgs block, int rows, nint allSteps, nint firstStep)
    {
        var parts = RowBlocks.Of(rows, SumsEmitter.MostRows);
        for (var part = 0; part < parts.Count; part++)
        {
            var (first, count) = (parts.Start(part), parts.Size(part));
            ref var entry = ref Entries[(int)kind << 3 | count];
            if (entry == 0)
                entry = Made(new SumsShape(kind, count, WordBytes, HasSegments: false, OperatingSystem.IsWindows()));
            ReadAhead(block.Ahead + part * (block.AheadBytes / parts.Count), block.AheadBytes / parts.Count);
            var args = block;
            args.Activations += (first * allSteps + firstStep * count) * WordBytes;
            args.StepBytes = count * WordBytes;
            args.Sums = (int*)args.Sums + first * Columns;
            Run(entry, &args);
        }
    }

    /// <summary>
    /// Fetches what is unpacked next into the second-level cache. A share at a time, before kernels that run long: fetching all at once would wait.
    /// </summary>
    /// <param name="from">The first byte.</param>
    /// <param name="bytes">How many.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadAhead(byte* from, nint bytes)
    {
        for (var end = from + bytes; from < end; from += CacheLine)
            Sse.Prefetch1(from);
    }

    private static nint Made(SumsShape shape) => (nint)Code.Get(shape);
}
