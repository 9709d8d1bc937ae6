using System.Buffers.Binary;
using System.Reflection.Emit;

namespace QwixSharp.Interception;

/// <summary>Lays IL out anew where instructions are to be put before others, or take the place of shorter ones.</summary>
internal sealed class IlLayout
{
    private const int LongBranchSize = 5;

    private readonly byte[] _code;
    private readonly List<IlInstruction> _instructions;
    private readonly Dictionary<int, byte[]> _before;
    private readonly Dictionary<int, byte[]> _instead;
    private readonly Dictionary<int, int> _offsets = [];

    /// <param name="code">The IL.</param>
    /// <param name="before">What goes before an instruction, by its offset; a branch to the instruction goes to this.</param>
    /// <param name="instead">What takes the place of an instruction, by its offset.</param>
    internal IlLayout(byte[] code, Dictionary<int, byte[]> before, Dictionary<int, byte[]> instead)
    {
        (_code, _before, _instead) = (code, before, instead);
        _instructions = IlBody.Read(code);
        var offset = 0;
        for (var i = 0; i < _instructions.Count; i++)
        {
            _offsets[_instructions[i].Offset] = offset;
            offset += (before.GetValueOrDefault(_instructions[i].Offset)?.Length ?? 0) + NewSize(i);
        }

        _offsets[code.Length] = offset;
    }

    /// <summary>Where an offset of the old IL is in the new.</summary>
    internal int Moved(int offset) => _offsets[offset];

    /// <summary>The new IL. Its branches are all long ones.</summary>
    internal byte[] Code()
    {
        var result = new List<byte>(_offsets[_code.Length]);
        for (var i = 0; i < _instructions.Count; i++)
        {
            var instruction = _instructions[i];
            if (_before.TryGetValue(instruction.Offset, out var inserted)) result.AddRange(inserted);
            if (_instead.TryGetValue(instruction.Offset, out var replacement)) result.AddRange(replacement);
            else if (instruction.OpCode.OperandType is OperandType.ShortInlineBrTarget or OperandType.InlineBrTarget) Branch(result, i);
            else if (instruction.OpCode.OperandType == OperandType.InlineSwitch) Switch(result, i);
            else result.AddRange(_code.AsSpan(instruction.Offset, Size(i)));
        }

        return [.. result];
    }

    private int Size(int index) => (index + 1 < _instructions.Count ? _instructions[index + 1].Offset : _code.Length) - _instructions[index].Offset;

    private int NewSize(int index) => _instead.TryGetValue(_instructions[index].Offset, out var replacement) ? replacement.Length
        : _instructions[index].OpCode.OperandType == OperandType.ShortInlineBrTarget ? LongBranchSize
        : Size(index);

    private void Branch(List<byte> result, int index)
    {
        var instruction = _instructions[index];
        var isShort = instruction.OpCode.OperandType == OperandType.ShortInlineBrTarget;
        var distance = isShort ? (sbyte)_code[instruction.OperandOffset] : BinaryPrimitives.ReadInt32LittleEndian(_code.AsSpan(instruction.OperandOffset));
        result.Add((byte)(isShort ? Long(instruction.OpCode) : instruction.OpCode).Value);
        Distance(result, instruction.Offset + Size(index) + distance, _offsets[instruction.Offset] + Inserted(instruction) + LongBranchSize);
    }

    private void Switch(List<byte> result, int index)
    {
        var instruction = _instructions[index];
        var end = instruction.Offset + Size(index);
        var count = BinaryPrimitives.ReadInt32LittleEndian(_code.AsSpan(instruction.OperandOffset));
        result.AddRange(_code.AsSpan(instruction.Offset, 1 + 4));
        for (var i = 0; i < count; i++)
        {
            var distance = BinaryPrimitives.ReadInt32LittleEndian(_code.AsSpan(instruction.OperandOffset + 4 + (4 * i)));
            Distance(result, end + distance, _offsets[instruction.Offset] + Inserted(instruction) + Size(index));
        }
    }

    private int Inserted(IlInstruction instruction) => _before.GetValueOrDefault(instruction.Offset)?.Length ?? 0;

    private void Distance(List<byte> result, int target, int end)
    {
        Span<byte> distance = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(distance, _offsets[target] - end);
        result.AddRange(distance);
    }

    /// <summary>The long form of a branch: <c>leave</c> and its short form are neighbours, the others lie 13 apart.</summary>
    private static OpCode Long(OpCode branch) => branch == OpCodes.Leave_S ? OpCodes.Leave : LongForms[branch.Value - OpCodes.Br_S.Value];

    private static readonly OpCode[] LongForms =
    [
        OpCodes.Br, OpCodes.Brfalse, OpCodes.Brtrue, OpCodes.Beq, OpCodes.Bge, OpCodes.Bgt, OpCodes.Ble, OpCodes.Blt,
        OpCodes.Bne_Un, OpCodes.Bge_Un, OpCodes.Bgt_Un, OpCodes.Ble_Un, OpCodes.Blt_Un,
    ];
}
