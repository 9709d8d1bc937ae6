using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels;

/// <summary>The inner loops of weight-only products (float32 activations, quantized weight) for one instruction set.</summary>
internal abstract unsafe class FloatKernel
{
    /// <summary>The most rows times panels of a kernel whose sums are added up in parts.</summary>
    private const int MostSumsOfParts = 32;

    /// <summary>The kernel's name in traces.</summary>
    public abstract string Name { get; }

    /// <summary>Whether this machine can run it.</summary>
    public abstract bool IsSupported { get; }

    /// <summary>Whether it reads scales of 16 bits; else it is given float32 ones.</summary>
    public virtual bool ReadsNarrowScales => false;

    /// <summary>Whether it serves this weight.</summary>
    /// <param name="weight">The weight.</param>
    public abstract bool Serves(PackedWeight weight);

    /// <summary>The most rows of a block.</summary>
    /// <param name="weight">The weight.</param>
    /// <param name="rows">M.</param>
    public abstract int MaxRows(PackedWeight weight, int rows);

    /// <summary>
    /// How many rows of a block lie beside each other: parts of so many rows lie one behind the other, and the last has what is left.
    /// </summary>
    public virtual int RowsTogether => int.MaxValue;

    /// <summary>How many panels one call takes.</summary>
    /// <param name="weight">The weight.</param>
    /// <param name="rows">M.</param>
    public virtual int MaxPanels(PackedWeight weight, int rows) => 1;

    /// <summary>
    /// log2 of what the kernel's numbers lack: its sums times 2^this are the product. When it is not 0, rows are brought to
    /// a largest magnitude of about 2^<see cref="RowExponent"/> first, so that nothing overflows or becomes subnormal.
    /// </summary>
    /// <param name="weight">The weight.</param>
    /// <param name="rows">M.</param>
    public virtual int MissingExponent(PackedWeight weight, int rows) => 0;

    /// <summary>log2 of the largest magnitude that rows are brought to; only for a <see cref="MissingExponent"/>.</summary>
    /// <param name="weight">The weight.</param>
    public virtual int RowExponent(PackedWeight weight) => 0;

    /// <summary>
    /// How many values of K <see cref="RunPart"/> may add up at a time: where these are many, one after the other, roundings of equal values
    /// lean to one side. For a kernel whose rows all lie beside each other, or for one row.
    /// </summary>
    /// <param name="weight">The weight.</param>
    /// <param name="rows">The rows of the block.</param>
    protected virtual int MostAtOnce(PackedWeight weight, int rows) => int.MaxValue;

    /// <summary>Whether <see cref="RunPart"/> adds up the sums of tiles, and not all values.</summary>
    /// <param name="weight">The weight.</param>
    /// <param name="rows">The rows of the block.</param>
    /// <param name="panels">The panels.</param>
    protected virtual bool SumsTiles(PackedWeight weight, int rows, int panels) => true;

    /// <summary>Runs one block of rows against some panels.</summary>
    /// <param name="args">The operands; their values are lost.</param>
    /// <param name="weight">The weight, for its format.</param>
    /// <param name="rows">The rows of the block.</param>
    /// <param name="panels">The panels.</param>
    public void Run(FloatTileArgs* args, PackedWeight weight, int rows, int panels)
    {
        var most = MostAtOnce(weight, rows) / Values(weight);
        if (args->Groups * (SumsTiles(weight, rows, panels) ? 1 : args->Tiles) <= most)
            RunPart(args, weight, rows, panels);
        else
            RunInParts(args, weight, rows, panels, most);
    }

    /// <summary>How many values of K a group of a panel has.</summary>
    private static int Values(PackedWeight weight) => weight.IsHalfByte ? 8 : 4;

    [SkipLocalsInit]
    private void RunInParts(FloatTileArgs* args, PackedWeight weight, int rows, int panels, int most)
    {
        var part = stackalloc float[MostSumsOfParts * PackedWeight.PanelColumns];
        var (whole, tiles) = (*args, Math.Max(1, most / args->Groups));
        args->Result = part;
        for (nint tile = 0; tile < whole.Tiles; tile += tiles)
            for (nint group = 0; group < whole.Groups; group += most)
            {
                var done = tile * whole.Groups + group;
                args->Tiles = Math.Min(tiles, whole.Tiles - tile);
                args->Groups = Math.Min(most, whole.Groups - group);
                args->Weights = whole.Weights + done * 64;
                args->Activations = whole.Activations + done * Values(weight) * rows;
                args->WeightScales = (float*)((byte*)whole.WeightScales + tile * PackedWeight.PanelColumns * NarrowScales.ElementSize(whole.ScaleFormat));
                RunPart(args, weight, rows, panels);
                Add(part, whole.Result, rows * panels, isFirst: done == 0);
            }
    }

    /// <summary>Runs one block of rows against some panels.</summary>
    /// <param name="args">The operands, of which the kernel may count down the tiles.</param>
    /// <param name="weight">The weight, for its format.</param>
    /// <param name="rows">The rows of the block.</param>
    /// <param name="panels">The panels.</param>
    protected abstract void RunPart(FloatTileArgs* args, PackedWeight weight, int rows, int panels);

    private static void Add(float* part, float* sums, int count, bool isFirst)
    {
        for (var i = 0; i < count * PackedWeight.PanelColumns; i += 8)
            (isFirst ? Vector256.Load(part + i) : Vector256.Load(sums + i) + Vector256.Load(part + i)).Store(sums + i);
    }
}
