using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace QwixSharp.Kernels.Assembled;

/// <summary>What a kernel of <see cref="FloatRowsEmitter"/> works on. Assembled code reads the fields by their offsets.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct FloatRowsArgs
{
    /// <summary>[step][16] decoded numbers.</summary>
    public float* Numbers;

    /// <summary>The first part's [step][row], from the first step on.</summary>
    public float* Activations;

    /// <summary>From one part's activations to those of the next.</summary>
    public nint PartBytes;

    /// <summary>How many parts; at least one.</summary>
    public nint Parts;

    /// <summary>How many values of K; even.</summary>
    public nint Steps;

    /// <summary>[part][row][16] sums, which are added to.</summary>
    public float* Sums;

    /// <summary>Room to keep registers that the caller's convention preserves.</summary>
    public IntegerTileArgs.SaveArea Saved;
}

/// <summary>Runs the kernels of <see cref="FloatRowsEmitter"/> on blocks of more rows than registers hold.</summary>
internal static unsafe class FloatRowsCode
{
    private const int Columns = 16;

    private static readonly CodeCache<FloatRowsShape> Code = new(FloatRowsEmitter.Emit);

    /// <summary>Entries by rows: a block is too short a work for a dictionary.</summary>
    private static readonly nint[] Entries = new nint[FloatRowsEmitter.MostRows + 1];

    /// <summary>Adds the products of some values of K to the sums of a block.</summary>
    /// <param name="numbers">[depth][16] decoded numbers.</param>
    /// <param name="first">The first value of K.</param>
    /// <param name="depth">How many; even.</param>
    /// <param name="x">[part][K][row]: parts of <see cref="FloatRowsEmitter.MostRows"/> rows, the last of what is left.</param>
    /// <param name="wholeDepth">K.</param>
    /// <param name="rows">The rows of the block.</param>
    /// <param name="sums">[row][16].</param>
    [SkipLocalsInit]
    public static void Run(float* numbers, nint first, nint depth, float* x, nint wholeDepth, int rows, float* sums)
    {
        var parts = rows / FloatRowsEmitter.MostRows;
        var whole = parts * FloatRowsEmitter.MostRows;
        FloatRowsArgs args;
        Unsafe.SkipInit(out args);
        args.Numbers = numbers;
        args.PartBytes = wholeDepth * FloatRowsEmitter.MostRows * sizeof(float);
        args.Steps = depth;
        if (parts > 0)
        {
            args.Activations = x + first * FloatRowsEmitter.MostRows;
            args.Parts = parts;
            args.Sums = sums;
            Run(FloatRowsEmitter.MostRows, &args);
        }
        var left = rows - whole;
        if (left > 0)
        {
            args.Activations = x + whole * wholeDepth + first * left;
            args.Parts = 1;
            args.Sums = sums + whole * Columns;
            Run(left, &args);
        }
    }

    private static void Run(int rows, FloatRowsArgs* args)
    {
        ref var entry = ref Entries[rows];
        if (entry == 0)
            entry = (nint)Code.Get(new FloatRowsShape(rows, OperatingSystem.IsWindows()));
        ((delegate* unmanaged[SuppressGCTransition]<FloatRowsArgs*, void>)entry)(args);
    }
}
