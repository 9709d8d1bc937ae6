using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels;

/// <summary>
/// The inner loops of products of integer codes, for one instruction set. Exact: every sum of a tile is the sum of all
/// products of its codes modulo 2^32, whatever the codes.
/// </summary>
internal abstract unsafe class IntegerKernel
{
    /// <summary>The kernel's name in traces.</summary>
    public abstract string Name { get; }

    /// <summary>Whether this machine can run it.</summary>
    public abstract bool IsSupported { get; }

    /// <summary>Whether it serves every integer weight, with digit planes too.</summary>
    public virtual bool IsGeneral => true;

    /// <summary>Whether it takes products of this weight.</summary>
    /// <param name="weight">The weight, of integer codes.</param>
    /// <param name="rows">M.</param>
    public virtual bool Serves(PackedWeight weight, int rows) => true;

    /// <summary>Whether it reads scales of 16 bits; else it is given float32 ones.</summary>
    public virtual bool ReadsNarrowScales => false;

    /// <summary>How it wants the activations.</summary>
    /// <param name="format">The weight's codes.</param>
    public abstract ActivationForm Form(CodeFormat format);

    /// <summary>What the kernel adds to every code of the weight; the start values take it out.</summary>
    /// <param name="format">The weight's codes.</param>
    public abstract int WeightBias(CodeFormat format);

    /// <summary>The most rows of a block.</summary>
    /// <param name="format">The weight's codes.</param>
    /// <param name="tiled">Whether it scales and sums tiles.</param>
    public abstract int MaxRows(CodeFormat format, bool tiled);

    /// <summary>
    /// How many rows of a block lie beside each other: the rows are split evenly into parts of so many at most, and the parts lie one
    /// behind the other.
    /// </summary>
    public virtual int RowsTogether => int.MaxValue;

    /// <summary>How many panels one call takes.</summary>
    /// <param name="format">The weight's codes.</param>
    /// <param name="tiled">Whether it scales and sums tiles.</param>
    /// <param name="rows">The rows of the block.</param>
    public abstract int MaxPanels(CodeFormat format, bool tiled, int rows);

    /// <summary>
    /// Whether three products of bytes are faster than one of float32, so that weight-only products go through
    /// <see cref="DigitPlanes"/>.
    /// </summary>
    /// <param name="format">The weight's codes.</param>
    /// <param name="rows">M.</param>
    public virtual bool PrefersPlanes(CodeFormat format, int rows) => false;

    /// <summary>
    /// The most rows of x in a block whose <see cref="DigitPlanes"/> the kernel joins to one sum a row; 0 where it gives a sum for
    /// each plane, as products of other rows.
    /// </summary>
    /// <param name="weight">The weight.</param>
    /// <param name="rows">M.</param>
    public virtual int MaxJoinedRows(PackedWeight weight, int rows) => 0;

    /// <summary>Runs one block of digit planes against one panel; the result is [row][16] float32 sums of tiles times both scales.</summary>
    /// <param name="args">The operands.</param>
    /// <param name="rows">The rows of x, up to <see cref="MaxJoinedRows"/>.</param>
    public virtual void RunJoined(IntegerTileArgs* args, int rows) => throw new NotSupportedException($"{Name} joins no digit planes.");

    /// <summary>Runs one block of rows against some panels.</summary>
    /// <param name="args">The operands.</param>
    /// <param name="format">The weight's codes: <see cref="CodeFormat.Int8"/> or <see cref="CodeFormat.Int4"/>.</param>
    /// <param name="tiled">
    /// False: one tile, the result is its int32 sums. True: the result is the float32 sum of tiles times both scales.
    /// </param>
    /// <param name="rows">The rows of the block.</param>
    /// <param name="panels">The panels.</param>
    public abstract void Run(IntegerTileArgs* args, CodeFormat format, bool tiled, int rows, int panels);
}
