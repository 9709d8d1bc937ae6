namespace QwixSharp.Kernels.Convolutions;

/// <summary>Blocks of windows that are finished together: they lie side by side in a row of the result, or each is a whole row.</summary>
/// <param name="Windows">The windows of a block.</param>
/// <param name="Count">How many blocks.</param>
/// <param name="Stride">From one block's values to the next one's.</param>
/// <param name="AreRows">Whether each is a row.</param>
internal readonly record struct WindowBlocks(int Windows, int Count, nint Stride, bool AreRows)
{
    /// <summary>One block.</summary>
    /// <param name="windows">Its windows, in one row if there is a margin around the result.</param>
    public static WindowBlocks One(int windows) => new(windows, 1, 0, false);
}
