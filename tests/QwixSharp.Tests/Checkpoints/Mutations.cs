using CsCheck;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>Ways to damage a file.</summary>
internal static class Mutations
{
    /// <summary>Numbers at the edges of what a header can hold.</summary>
    private static readonly ulong[] Edges = [0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, uint.MaxValue, 1UL << 32, long.MaxValue, 1UL << 63, ulong.MaxValue];

    /// <summary>One to four changes: a bit flipped, a byte set, a number of 4 or 8 bytes at an edge, bytes cut out or doubled, the end cut off.</summary>
    public static Gen<Func<byte[], byte[]>> Some { get; } = Gen.OneOf(
        Change((b, at, n) => b[at] ^= (byte)(1 << (n % 8))),
        Change((b, at, n) => b[at] = (byte)n),
        Change((b, at, n) => Put(b, at, 4, Edges[n % Edges.Length])),
        Change((b, at, n) => Put(b, at, 8, Edges[n % Edges.Length])),
        Gen.Select(Gen.Double[0, 1], Gen.Int[1, 40]).Select<(double At, int Length), Func<byte[], byte[]>>(m => b => Splice(b, m.At, m.Length, 0)),
        Gen.Select(Gen.Double[0, 1], Gen.Int[1, 40]).Select<(double At, int Length), Func<byte[], byte[]>>(m => b => Splice(b, m.At, 0, m.Length)),
        Gen.Double[0, 1].Select<double, Func<byte[], byte[]>>(m => b => b[..(int)(m * b.Length)]))
        .Array[1, 4].Select<Func<byte[], byte[]>[], Func<byte[], byte[]>>(all => b => all.Aggregate(b, (x, mutate) => mutate(x)));

    private static Gen<Func<byte[], byte[]>> Change(Action<byte[], int, int> change) =>
        Gen.Select(Gen.Double[0, 1], Gen.Int[0, 255]).Select<(double At, int Number), Func<byte[], byte[]>>(m => b =>
        {
            byte[] changed = [.. b];
            if (changed.Length > 0)
                change(changed, Math.Min((int)(m.At * changed.Length), changed.Length - 1), m.Number);
            return changed;
        });

    private static void Put(byte[] bytes, int at, int size, ulong value)
    {
        for (int i = 0; i < size && at + i < bytes.Length; i++)
            bytes[at + i] = (byte)(value >> (8 * i));
    }

    private static byte[] Splice(byte[] bytes, double at, int remove, int repeat)
    {
        int start = Math.Min((int)(at * bytes.Length), bytes.Length), end = Math.Min(start + remove, bytes.Length);
        return [.. bytes[..start], .. bytes[start..Math.Min(start + repeat, bytes.Length)], .. bytes[end..]];
    }
}
