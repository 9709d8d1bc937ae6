using System.Reflection;
using System.Reflection.Emit;

namespace QwixSharp.Interception;

/// <summary>One instruction in the IL of a method.</summary>
/// <param name="Offset">Where the instruction starts, in bytes.</param>
/// <param name="OpCode">What it does.</param>
/// <param name="OperandOffset">Where its operand starts, in bytes.</param>
/// <param name="Token">The operand as a 32-bit metadata token; 0 where the operand is none.</param>
internal readonly record struct IlInstruction(int Offset, OpCode OpCode, int OperandOffset, int Token);

/// <summary>The IL of a closed method: its bytes, its instructions, and what their tokens mean.</summary>
internal sealed class IlBody
{
    private static readonly OpCode[] OneByte = new OpCode[256];
    private static readonly OpCode[] TwoByte = new OpCode[256];

    private readonly Type[]? _typeArguments;
    private readonly Type[]? _methodArguments;
    private readonly Module _module;

    static IlBody()
    {
        foreach (var field in typeof(OpCodes).GetFields(BindingFlags.Public | BindingFlags.Static))
        {
            var opCode = (OpCode)field.GetValue(null)!;
            var table = opCode.Size == 1 ? OneByte : TwoByte;
            table[(ushort)opCode.Value & 0xFF] = opCode;
        }
    }

    private IlBody(MethodBase method, MethodBody header, byte[] code)
    {
        Header = header;
        Code = code;
        _module = method.Module;
        _typeArguments = method.DeclaringType is { IsGenericType: true } type ? type.GetGenericArguments() : null;
        _methodArguments = method.IsGenericMethod ? method.GetGenericArguments() : null;
    }

    /// <summary>Locals, exception clauses and stack size.</summary>
    internal MethodBody Header { get; }

    /// <summary>A copy of the IL that the caller may change.</summary>
    internal byte[] Code { get; }

    /// <summary>The body of a method, or null where it has no IL.</summary>
    internal static IlBody? Of(MethodBase method) =>
        method.GetMethodBody() is { } header && header.GetILAsByteArray() is { } code ? new IlBody(method, header, code) : null;

    /// <summary>The instructions in order, read from <see cref="Code"/> before any change to it.</summary>
    internal List<IlInstruction> Instructions() => Read(Code);

    /// <summary>The instructions of any IL.</summary>
    internal static List<IlInstruction> Read(byte[] code)
    {
        var instructions = new List<IlInstruction>();
        for (var position = 0; position < code.Length;)
        {
            var opCode = code[position] == 0xFE ? TwoByte[code[position + 1]] : OneByte[code[position]];
            var operand = position + opCode.Size;
            var size = OperandSize(code, opCode, operand);
            var token = HasToken(opCode.OperandType) ? BitConverter.ToInt32(code, operand) : 0;
            instructions.Add(new IlInstruction(position, opCode, operand, token));
            position = operand + size;
        }

        return instructions;
    }

    internal MethodBase ResolveMethod(int token) => _module.ResolveMethod(token, _typeArguments, _methodArguments)!;

    internal FieldInfo ResolveField(int token) => _module.ResolveField(token, _typeArguments, _methodArguments)!;

    internal Type ResolveType(int token) => _module.ResolveType(token, _typeArguments, _methodArguments);

    internal MemberInfo ResolveMember(int token) => _module.ResolveMember(token, _typeArguments, _methodArguments)!;

    internal string ResolveString(int token) => _module.ResolveString(token);

    private static bool HasToken(OperandType type) => type is OperandType.InlineMethod or OperandType.InlineField
        or OperandType.InlineType or OperandType.InlineTok or OperandType.InlineString or OperandType.InlineSig;

    private static int OperandSize(byte[] code, OpCode opCode, int operand) => opCode.OperandType switch
    {
        OperandType.InlineNone => 0,
        OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
        OperandType.InlineVar => 2,
        OperandType.InlineI8 or OperandType.InlineR => 8,
        OperandType.InlineSwitch => 4 + (4 * BitConverter.ToInt32(code, operand)),
        _ => 4,
    };
}
