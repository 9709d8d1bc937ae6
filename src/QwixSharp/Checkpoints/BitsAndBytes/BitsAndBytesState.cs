using System.Text.Json;
using System.Text.Json.Serialization;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.BitsAndBytes;

/// <summary>What the JSON text beside a weight says.</summary>
internal sealed class BitsAndBytesState
{
    /// <summary>Far above any description of a weight.</summary>
    private const int MaxLength = 1 << 16;

    /// <summary><c>nf4</c> or <c>fp4</c>.</summary>
    [JsonPropertyName("quant_type")]
    public required string QuantType { get; init; }

    /// <summary>The values that share a scale.</summary>
    [JsonPropertyName("blocksize")]
    public required int BlockSize { get; init; }

    /// <summary>The dtype of the weight before it was quantized.</summary>
    [JsonPropertyName("dtype")]
    public required string Dtype { get; init; }

    /// <summary>The shape of the weight.</summary>
    [JsonPropertyName("shape")]
    public required long[] Shape { get; init; }

    /// <summary>The scales that share a scale, where they are quantized too; else 0.</summary>
    [JsonPropertyName("nested_blocksize")]
    public int NestedBlockSize { get; init; }

    /// <summary>What was taken off the scales before they were quantized.</summary>
    [JsonPropertyName("nested_offset")]
    public float NestedOffset { get; init; }

    /// <summary>The dtype of the weight before it was quantized.</summary>
    [JsonIgnore]
    internal ScalarType ScalarType => Dtype switch { "float16" => ScalarType.Float16, "bfloat16" => ScalarType.BFloat16, _ => ScalarType.Float32 };

    /// <exception cref="CheckpointException">The text is not such a description, or one that cannot be.</exception>
    internal static BitsAndBytesState Read(Checkpoint checkpoint, TensorEntry entry)
    {
        if (entry.Dtype != CheckpointDtype.UInt8 || entry.ByteLength > MaxLength)
            throw Wrong(checkpoint, entry, $"has {entry}, which should be at most {MaxLength} bytes of text");
        var bytes = new byte[entry.ByteLength];
        checkpoint.ReadBytes(entry.Name, bytes);
        try
        {
            var state = JsonSerializer.Deserialize<BitsAndBytesState>(bytes)!;
            if (state is null || state.Shape is null || state.QuantType is not ("nf4" or "fp4") || state.BlockSize <= 0 || state.NestedBlockSize < 0 || state.Shape.Length > TensorEntry.MaxRank || state.Shape.Any(l => l < 0))
                throw Wrong(checkpoint, entry, $"has {entry}, which does not describe a weight in nf4 or fp4");
            _ = state.Shape.Aggregate(1L, (a, b) => checked(a * b));
            return state;
        }
        catch (Exception error) when (error is JsonException or OverflowException)
        {
            throw Wrong(checkpoint, entry, $"has {entry}, which does not describe a weight: {error.Message.ReplaceLineEndings(" ")}");
        }
    }

    private static CheckpointException Wrong(Checkpoint checkpoint, TensorEntry entry, string why) =>
        new($"{CheckpointException.Quote(checkpoint.Path)} {why}. Save {CheckpointException.Quote(entry.Name)} again with bitsandbytes.");
}
