using System.Text.RegularExpressions;
using Microsoft.ML.Tokenizers;

namespace QwixSharp.Samples.Chat;

/// <summary>Byte-level byte-pair encoding (Radford et al. 2019) with the vocabulary of a model's file.</summary>
public sealed partial class BytePairTokenizer
{
    private readonly BpeTokenizer _tokenizer;
    private readonly byte[][] _bytes;
    private readonly HashSet<int> _special;

    /// <summary>Makes a tokenizer.</summary>
    /// <param name="tokens">The tokens in the order of their ids, each byte as one printable character.</param>
    /// <param name="merges">Pairs of tokens that become one, the first to be merged first: <c>"Ġ t"</c>.</param>
    /// <param name="special">The ids of tokens that stand for themselves in a text, such as <c>&lt;|im_end|&gt;</c>.</param>
    /// <param name="splitsDigits">Whether every digit is a token, as with SmolLM; else a run of them is split like a word, as with GPT-2.</param>
    public BytePairTokenizer(IReadOnlyList<string> tokens, IEnumerable<string> merges, IEnumerable<int> special, bool splitsDigits)
    {
        _special = [.. special];
        var specialTokens = _special.ToDictionary(id => tokens[id], id => id);
        _tokenizer = BpeTokenizer.Create(new BpeOptions(tokens.Select((token, id) => KeyValuePair.Create(token, id)))
        {
            Merges = merges,
            SpecialTokens = specialTokens,
            PreTokenizer = new RegexPreTokenizer(splitsDigits ? WordsAndDigits() : WordsAndNumbers(), specialTokens),
            ByteLevel = true,
        });
        var bytes = BytesOfCharacters();
        _bytes = [.. tokens.Select((token, id) => _special.Contains(id)
            ? System.Text.Encoding.UTF8.GetBytes(token)
            : [.. token.Select(c => bytes.GetValueOrDefault(c, (byte)'?'))])];
    }

    /// <summary>The ids of a text's tokens.</summary>
    public IReadOnlyList<int> Encode(string text) => _tokenizer.EncodeToIds(text);

    /// <summary>The bytes of a token. A character of several bytes may be spread over several tokens.</summary>
    public ReadOnlySpan<byte> Bytes(int id) => _bytes[id];

    /// <summary>Whether a token stands for something else than text.</summary>
    public bool IsSpecial(int id) => _special.Contains(id);

    /// <summary>The id of a token that stands for something else than text; null where the vocabulary has none of that name.</summary>
    public int? SpecialId(string token) => _tokenizer.SpecialTokens!.TryGetValue(token, out var id) ? id : null;

    /// <summary>The bytes that GPT-2's printable characters stand for: themselves, and from U+0100 on those that are not printable.</summary>
    private static Dictionary<char, byte> BytesOfCharacters()
    {
        var map = new Dictionary<char, byte>();
        var next = '\u0100';
        for (var value = 0; value < 256; value++)
            map[value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF) ? (char)value : next++] = (byte)value;
        return map;
    }

    // Spaces before a digit stay together, since SmolLM cuts digits out before it looks for words.
    [GeneratedRegex(@"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+")]
    private static partial Regex WordsAndDigits();

    [GeneratedRegex(@"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")]
    private static partial Regex WordsAndNumbers();
}
