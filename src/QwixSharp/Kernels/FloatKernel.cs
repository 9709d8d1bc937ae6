using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels;

/// <summary>The inner loops of weight-only products (float32 activations, quantized weight) for one instruction set.</summary>
internal abstract unsafe class FloatKernel
{
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

    /// <summary>Runs one block of rows against some panels.</summary>
    /// <param name="args">The operands.</param>
    /// <param name="weight">The weight, for its format.</param>
    /// <param name="rows">The rows of the block.</param>
    /// <param name="panels">The panels.</param>
    public abstract void Run(FloatTileArgs* args, PackedWeight weight, int rows, int panels);
}
