using System.Buffers.Binary;
using System.Text;

namespace QwixSharp.Checkpoints.Pickle;

/// <summary>
/// Reads the pickles that torch.save writes for state dicts: numbers, strings, lists, tuples, dicts and tensors. It knows a
/// fixed list of names and what each stands for, as <c>torch.load(weights_only=True)</c> does; no class is looked up or made,
/// no method called.
/// </summary>
/// <remarks>
/// Opcodes: Python's <c>pickletools</c>. A pickle is a program for a stack machine, so that each opcode is a case below; all take
/// time and memory in proportion to their bytes.
/// </remarks>
internal ref struct PickleReader(ReadOnlySpan<byte> pickle)
{
    private static readonly object Mark = new();

    private readonly List<object?> _stack = [];
    private readonly Dictionary<uint, object?> _memo = [];
    private ReadOnlySpan<byte> _rest = pickle;

    /// <summary>The object that the pickle holds.</summary>
    /// <exception cref="FormatException">It is damaged, or holds what is none of the above; the message says what.</exception>
    internal object? Read()
    {
        while (true)
        {
            byte opcode = Take(1)[0];
            if (opcode == '.')
                return Pop();
            Run(opcode);
        }
    }

    private void Run(byte opcode)
    {
        switch ((char)opcode)
        {
            case '\x80': Take(1); break;
            case '\x95': Take(8); break;
            case '(': Push(Mark); break;
            case '0': _ = PopAny(); break;
            case '1': _ = PopToMark(); break;
            case '2': Push(Peek()); break;
            case 'N': Push(null); break;
            case '\x88': Push(true); break;
            case '\x89': Push(false); break;
            case 'K': Push((long)Take(1)[0]); break;
            case 'M': Push((long)BinaryPrimitives.ReadUInt16LittleEndian(Take(2))); break;
            case 'J': Push((long)BinaryPrimitives.ReadInt32LittleEndian(Take(4))); break;
            case '\x8a': Push(Long(Take(Take(1)[0]))); break;
            case 'G': Push(BinaryPrimitives.ReadDoubleBigEndian(Take(8))); break;
            case '\x8c': Push(Text(Take(1)[0])); break;
            case 'X': Push(Text(BinaryPrimitives.ReadUInt32LittleEndian(Take(4)))); break;
            case '\x8d': Push(Text(BinaryPrimitives.ReadUInt64LittleEndian(Take(8)))); break;
            case 'U' or 'C': Push(Take(Take(1)[0]).ToArray()); break;
            case 'T' or 'B': Push(Take(BinaryPrimitives.ReadUInt32LittleEndian(Take(4))).ToArray()); break;
            case ')': Push(Array.Empty<object?>()); break;
            case '\x85': Push(PopMany(1)); break;
            case '\x86': Push(PopMany(2)); break;
            case '\x87': Push(PopMany(3)); break;
            case 't': Push(PopToMark()); break;
            case ']': Push(new List<object?>()); break;
            case 'l': Push(PopToMark().ToList()); break;
            case 'a': Append([Pop()]); break;
            case 'e': Append(PopToMark()); break;
            case '}': Push(new PickleDict()); break;
            case 'd': SetItems(PopToMark(), new PickleDict()); break;
            case 's': SetItems(PopMany(2)); break;
            case 'u': SetItems(PopToMark()); break;
            case 'q': Memorize(Take(1)[0]); break;
            case 'r': Memorize(BinaryPrimitives.ReadUInt32LittleEndian(Take(4))); break;
            case '\x94': Memorize((uint)_memo.Count); break;
            case 'h': Recall(Take(1)[0]); break;
            case 'j': Recall(BinaryPrimitives.ReadUInt32LittleEndian(Take(4))); break;
            case 'c': Push(new PickleGlobal(Line(), Line())); break;
            case '\x93': Push(Global(PopMany(2))); break;
            case 'R' or '\x81': Push(PickleNames.Call(PopMany(2))); break;
            case 'b': Build(Pop(), Peek()); break;
            case 'Q': Push(PickleNames.Persistent(Pop())); break;
            default: throw new FormatException($"it has the opcode 0x{opcode:x2}, which torch.save does not write for a state dict");
        }
    }

    private void SetItems(object?[] items, PickleDict? made = null)
    {
        if (made is not null)
            Push(made);
        if (Peek() is not PickleDict dict || items.Length % 2 != 0)
            throw new FormatException("it sets items of what is no dict");
        for (int i = 0; i < items.Length; i += 2)
        {
            if (items[i] is not (string or long))
                throw new FormatException("a dict has a key that is neither text nor a whole number");
            dict.Items[items[i]!] = items[i + 1];
        }
    }

    private readonly void Append(ReadOnlySpan<object?> items)
    {
        if (Peek() is not List<object?> list)
            throw new FormatException("it appends to what is no list");
        list.AddRange(items);
    }

    /// <summary>An ordered dict has attributes, such as the versions of modules; they say nothing about tensors.</summary>
    private static void Build(object? state, object? target)
    {
        if (target is not PickleDict || state is not PickleDict)
            throw new FormatException("it sets the state of an object that is none of a state dict");
    }

    private void Memorize(uint key) => _memo[key] = Peek();

    private readonly void Recall(uint key) => Push(_memo.TryGetValue(key, out var value) ? value : throw new FormatException("it recalls what it did not memorize"));

    private readonly void Push(object? value) => _stack.Add(value);

    private readonly object? Peek() => _stack.Count > 0 && _stack[^1] != Mark ? _stack[^1] : throw new FormatException("its stack is empty");

    private readonly object? Pop()
    {
        var value = Peek();
        _stack.RemoveAt(_stack.Count - 1);
        return value;
    }

    private readonly object? PopAny()
    {
        if (_stack.Count > 0 && _stack[^1] == Mark)
            _stack.RemoveAt(_stack.Count - 1);
        else
            return Pop();
        return null;
    }

    private readonly object?[] PopMany(int count)
    {
        if (_stack.Count < count || _stack.IndexOf(Mark, _stack.Count - count) >= 0)
            throw new FormatException("its stack is empty");
        object?[] items = [.. _stack.Skip(_stack.Count - count)];
        _stack.RemoveRange(_stack.Count - count, count);
        return items;
    }

    private readonly object?[] PopToMark()
    {
        int mark = _stack.LastIndexOf(Mark);
        if (mark < 0)
            throw new FormatException("its stack has no mark");
        object?[] items = [.. _stack.Skip(mark + 1)];
        _stack.RemoveRange(mark, _stack.Count - mark);
        return items;
    }

    private static PickleGlobal Global(object?[] parts) => parts is [string module, string name]
        ? new PickleGlobal(module, name)
        : throw new FormatException("it refers to a name that is no text");

    private static long Long(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length > 8)
            throw new FormatException("it has a whole number of more than 64 bits");
        Span<byte> wide = stackalloc byte[8];
        wide.Fill((byte)(bytes.Length > 0 && (bytes[^1] & 0x80) != 0 ? 0xFF : 0));
        bytes.CopyTo(wide);
        return BinaryPrimitives.ReadInt64LittleEndian(wide);
    }

    private string Text(ulong length) => Encoding.UTF8.GetString(Take(length));

    private string Line()
    {
        int length = _rest.IndexOf((byte)'\n');
        if (length < 0)
            throw new FormatException("it ends within a name");
        return Encoding.UTF8.GetString(Take((ulong)length + 1)[..^1]);
    }

    private ReadOnlySpan<byte> Take(ulong length)
    {
        if (length > (ulong)_rest.Length)
            throw new FormatException("it ends too early");
        var taken = _rest[..(int)length];
        _rest = _rest[(int)length..];
        return taken;
    }
}
