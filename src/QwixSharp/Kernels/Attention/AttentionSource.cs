namespace QwixSharp.Kernels.Attention;

/// <summary>Keys and values that attention reads a block of tokens at a time, where they lie.</summary>
internal abstract unsafe class AttentionSource
{
    /// <summary>The tokens of a block.</summary>
    public const int BlockTokens = 32;

    /// <summary>The features of a head.</summary>
    public abstract int HeadSize { get; }

    /// <summary>The heads of all sequences.</summary>
    public abstract int Heads { get; }

    /// <summary>What the products with the keys from one token on are still to be multiplied with; null where with nothing.</summary>
    /// <param name="head">The head.</param>
    /// <param name="token">The token.</param>
    public abstract float* KeyScales(int head, int token);

    /// <summary>The same of the values.</summary>
    /// <param name="head">The head.</param>
    /// <param name="token">The token.</param>
    public abstract float* ValueScales(int head, int token);

    /// <summary>The products of queries and a block of keys; those of tokens that are not there may be anything.</summary>
    /// <param name="head">The head.</param>
    /// <param name="token">The first token, a multiple of <see cref="BlockTokens"/>.</param>
    /// <param name="used">How many of the block's tokens are there.</param>
    /// <param name="queries">[rows, features].</param>
    /// <param name="rows">A multiple of <see cref="BlockProduct.Rows"/>.</param>
    /// <param name="scratch">Room for a block of keys.</param>
    /// <param name="scores">[rows, <see cref="BlockTokens"/>]; the result.</param>
    public abstract void Scores(int head, int token, int used, float* queries, int rows, float* scratch, float* scores);

    /// <summary>sums += weights · values of a block.</summary>
    /// <param name="head">The head.</param>
    /// <param name="token">The first token, a multiple of <see cref="BlockTokens"/>.</param>
    /// <param name="used">How many of the block's tokens are there.</param>
    /// <param name="weights">[rows, <see cref="BlockTokens"/>].</param>
    /// <param name="rows">A multiple of <see cref="BlockProduct.Rows"/>.</param>
    /// <param name="scratch">Room for a block of values in rows of <paramref name="columns"/>, zero behind the features.</param>
    /// <param name="sums">[rows, columns].</param>
    /// <param name="columns">The features, rounded up to a multiple of <see cref="BlockProduct.Columns"/>.</param>
    public abstract void AddValues(int head, int token, int used, float* weights, int rows, float* scratch, float* sums, int columns);
}
