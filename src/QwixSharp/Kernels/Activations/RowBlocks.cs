namespace QwixSharp.Kernels.Activations;

/// <summary>Splits M rows evenly into blocks of at most some number of rows.</summary>
/// <param name="Rows">M.</param>
/// <param name="Count">The number of blocks.</param>
internal readonly record struct RowBlocks(int Rows, int Count)
{
    /// <summary>Blocks of at most <paramref name="largest"/> rows.</summary>
    /// <param name="rows">M.</param>
    /// <param name="largest">The most rows in a block.</param>
    public static RowBlocks Of(int rows, int largest) => new(rows, (int)((rows + (long)largest - 1) / largest));

    /// <summary>The same, in a number of blocks that threads can share evenly.</summary>
    /// <param name="rows">M.</param>
    /// <param name="largest">The most rows in a block.</param>
    /// <param name="threads">How many threads.</param>
    public static RowBlocks Shared(int rows, int largest, int threads)
    {
        var count = Of(rows, largest).Count;
        return new(rows, Math.Min(rows, (count + threads - 1) / threads * threads));
    }

    /// <summary>The first row of a block.</summary>
    /// <param name="block">The block's number; <see cref="Count"/> gives M.</param>
    public int Start(int block) => block * (Rows / Count) + Math.Min(block, Rows % Count);

    /// <summary>The rows of a block.</summary>
    /// <param name="block">The block's number.</param>
    public int Size(int block) => Rows / Count + (block < Rows % Count ? 1 : 0);
}
