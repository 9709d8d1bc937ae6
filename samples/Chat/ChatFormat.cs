using System.Text;

namespace QwixSharp.Samples.Chat;

/// <summary>Turns of a conversation as tokens, as SmolLM2 was trained on them (ChatML).</summary>
public sealed class ChatFormat
{
    /// <summary>What SmolLM2 is told unless the user says otherwise.</summary>
    public const string DefaultSystem = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

    private readonly BytePairTokenizer _tokenizer;

    /// <summary>Makes the format.</summary>
    /// <exception cref="InvalidDataException">The vocabulary has no tokens that begin and end a turn.</exception>
    public ChatFormat(BytePairTokenizer tokenizer)
    {
        _tokenizer = tokenizer;
        foreach (var token in new[] { "<|im_start|>", "<|im_end|>" })
            if (tokenizer.SpecialId(token) is null)
                throw new InvalidDataException($"The vocabulary has no token '{token}': this model does not talk in turns. Measure it with --perplexity instead.");
    }

    /// <summary>What comes before the first turn.</summary>
    public IReadOnlyList<int> Begin(string system) => _tokenizer.Encode($"<|im_start|>system\n{system}<|im_end|>\n");

    /// <summary>A turn of the user, and the beginning of the answer.</summary>
    public IReadOnlyList<int> Turn(string text) => _tokenizer.Encode($"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n");

    /// <summary>What comes between an answer, whose last token has not been read by the model, and the next turn.</summary>
    public IReadOnlyList<int> EndOfAnswer { get => field ??= _tokenizer.Encode("<|im_end|>\n"); }

    /// <summary>Makes text of tokens as they come: characters that are spread over several come with their last.</summary>
    public Func<int, string> Decoder()
    {
        var decoder = Encoding.UTF8.GetDecoder();
        var characters = new char[256];
        return id => new string(characters, 0, decoder.GetChars(_tokenizer.Bytes(id), characters, flush: false));
    }
}
