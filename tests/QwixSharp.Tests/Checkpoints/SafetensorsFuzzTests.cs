using System.Text;
using CsCheck;
using QwixSharp.Checkpoints;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>Valid files with some bytes changed, cut out or put in: each opens and reads, or is refused as a checkpoint.</summary>
public sealed class SafetensorsFuzzTests : IDisposable
{
    private const int Cases = 4000;

    private static readonly byte[] Valid = MakeValid();

    private readonly TemporaryFolder _folder = new();

    /// <summary>Texts that steer the reader: numbers at the edges, brackets, other dtypes.</summary>
    private static readonly byte[][] Tokens = new[]
    {
        "-1", "0", "18446744073709551615", "9223372036854775807", "1e9", "[", "]", "{", "}", "\"", ",", ":", "null", "\\u0000", "\"F4\"", "\"BOOL\"", "\"C64\"", "__metadata__", "alpha", "beta",
    }.Select(Encoding.UTF8.GetBytes).ToArray();

    private static readonly Gen<Func<byte[], byte[]>> Mutation = Gen.OneOf<Func<byte[], byte[]>>(
        Gen.Select(Gen.Double[0, 1], Gen.Byte).Select<(double, byte), Func<byte[], byte[]>>(m => b => Splice(b, m.Item1, 1, [m.Item2])),
        Gen.Select(Gen.Double[0, 1], Gen.Int[0, 7]).Select<(double, int), Func<byte[], byte[]>>(m => b => Flip(b, m.Item1, m.Item2)),
        Gen.Select(Gen.Double[0, 1], Gen.Int[1, 40]).Select<(double, int), Func<byte[], byte[]>>(m => b => Splice(b, m.Item1, m.Item2, [])),
        Gen.Select(Gen.Double[0, 1], Gen.Int[0, 8], Gen.Int[0, Tokens.Length - 1].Select(i => Tokens[i])).Select<(double, int, byte[]), Func<byte[], byte[]>>(m => b => Splice(b, m.Item1, m.Item2, m.Item3)),
        Gen.Double[0, 1].Select<double, Func<byte[], byte[]>>(m => b => b[..(int)(m * b.Length)]));

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void AMutatedFileIsReadOrRefused()
    {
        int refused = 0;
        Gen.Select(Mutation.Array[1, 3], Gen.Bool).Sample(
            m =>
            {
                var bytes = m.Item1.Aggregate(Valid, (b, mutate) => mutate(b));
                // With the header's length made right again, mutations get past the first check.
                if (m.Item2 && bytes.Length >= Valid.Length)
                    BitConverter.TryWriteBytes(bytes, BitConverter.ToInt64(Valid) + bytes.Length - Valid.Length);
                var path = _folder[$"{Guid.NewGuid():n}.safetensors"];
                File.WriteAllBytes(path, bytes);
                try
                {
                    using var checkpoint = Checkpoint.Open(path);
                    foreach (var tensor in checkpoint.LogicalTensors)
                        tensor.ReadFloat().Dispose();
                    Assert.True(checkpoint.Tensors.Sum(t => t.ByteLength) <= bytes.Length);
                }
                catch (CheckpointException error)
                {
                    Interlocked.Increment(ref refused);
                    Assert.False(error.Message.Any(char.IsControl), error.Message);
                }
                finally
                {
                    File.Delete(path);
                }
            },
            iter: Cases);
        Assert.InRange(refused, Cases / 10, Cases - 1);
    }

    private static byte[] Splice(byte[] bytes, double at, int remove, byte[] insert)
    {
        int start = Math.Min((int)(at * bytes.Length), bytes.Length), end = Math.Min(start + remove, bytes.Length);
        return [.. bytes[..start], .. insert, .. bytes[end..]];
    }

    private static byte[] Flip(byte[] bytes, double at, int bit)
    {
        byte[] flipped = [.. bytes];
        if (flipped.Length > 0)
            flipped[Math.Min((int)(at * flipped.Length), flipped.Length - 1)] ^= (byte)(1 << bit);
        return flipped;
    }

    private static byte[] MakeValid()
    {
        using var folder = new TemporaryFolder();
        using (var writer = SafetensorsWriter.Create(
            folder["a.safetensors"],
            [new("alpha", CheckpointDtype.BFloat16, [2, 3]), new("beta", CheckpointDtype.Bool, [3]), new("gamma", CheckpointDtype.Float4E2M1, [2, 4]), new("delta", CheckpointDtype.Float32, [])],
            new Dictionary<string, string> { ["format"] = "pt" }))
        {
            writer.Write("alpha", new byte[12]);
            writer.Write("beta", new byte[3]);
            writer.Write("gamma", new byte[4]);
            writer.Write("delta", new byte[4]);
            writer.Complete();
        }

        return File.ReadAllBytes(folder["a.safetensors"]);
    }
}
