using System.Buffers.Binary;
using System.Reflection;
using System.Reflection.Emit;
using QwixSharp.Interception.Deferred;
using QwixSharp.Interception.Shims;

namespace QwixSharp.Interception;

/// <summary>
/// Copies the IL of one method into a dynamic method byte for byte, and patches only its tokens, so that branches,
/// switches, exception clauses and filters survive as they are. A redirected call becomes a call of a static method
/// of the same size; prefixes that no longer apply become nops.
/// </summary>
internal sealed class IlCopier
{
    private const byte Nop = 0x00;
    private const byte Dup = 0x25;
    private const byte CallOpCode = 0x28;
    private const byte EmptyLocalsCount = 0;
    private const byte LocalSignature = 0x07;
    private const byte FatExceptionTable = 0x41;
    private const int FatClauseSize = 24;
    private const int CallSize = 5;

    private readonly IlBody _body;
    private readonly byte[] _code;
    private readonly DynamicILInfo _info;
    private readonly CallRedirector _redirector;
    private readonly List<IlInstruction> _instructions;
    private readonly Dictionary<int, byte[]> _before = [];
    private readonly Dictionary<int, byte[]> _instead = [];
    private IlLayout _layout = null!;

    internal IlCopier(MethodBase method, DynamicILInfo info, CallRedirector redirector)
    {
        _info = info;
        _redirector = redirector;
        _body = IlBody.Of(method) ?? throw new NotSupportedException("it has no IL");
        _instructions = _body.Instructions();
        _code = (byte[])_body.Code.Clone();
    }

    internal void Copy(DynamicMethod target)
    {
        for (var i = 0; i < _instructions.Count; i++) Patch(i);
        _layout = new IlLayout([.. _code, .. MoveTailCalls()], _before, _instead);
        _info.SetCode(_layout.Code(), _body.Header.MaxStackSize + 2);
        var locals = SignatureHelper.GetLocalVarSigHelper();
        foreach (var local in _body.Header.LocalVariables) locals.AddArgument(local.LocalType, local.IsPinned);
        _info.SetLocalSignature(locals.GetSignature());
        target.InitLocals = _body.Header.InitLocals;
        if (_body.Header.ExceptionHandlingClauses.Count > 0) _info.SetExceptions(ExceptionTable());
    }

    /// <summary>Fills a method that could not be copied with a call of the original.</summary>
    internal static void CallOriginal(MethodBase method, DynamicILInfo info)
    {
        var parameters = MethodShape.CopyParameters(method);
        var code = new List<byte>();
        for (var i = 0; i < parameters.Length; i++)
        {
            // ldarg with a 16-bit index
            code.AddRange([0xFE, 0x09, (byte)i, (byte)(i >> 8)]);
            if (OpaqueCallShims.MayHold(parameters[i])) code.AddRange(CallOf(info, nameof(Deferral.Concrete)));
        }

        var token = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(token, MethodToken(info, method));
        code.AddRange([CallOpCode, .. token, (byte)OpCodes.Ret.Value]);
        info.SetCode([.. code], Math.Max(parameters.Length, 1) + 1);
        info.SetLocalSignature([LocalSignature, EmptyLocalsCount]);
    }

    private void Patch(int index)
    {
        var instruction = _instructions[index];
        switch (instruction.OpCode.OperandType)
        {
            case OperandType.InlineString:
                PutToken(instruction, _info.GetTokenFor(_body.ResolveString(instruction.Token)));
                break;
            case OperandType.InlineType:
                PatchType(instruction, _body.ResolveType(instruction.Token));
                break;
            case OperandType.InlineField:
                PatchField(instruction);
                break;
            case OperandType.InlineTok:
                PutToken(instruction, MemberToken(_body.ResolveMember(instruction.Token)));
                break;
            case OperandType.InlineMethod:
                PatchMethod(index, instruction);
                break;
            case OperandType.InlineSig:
                throw new NotSupportedException("it calls a function pointer");
            case OperandType.InlineNone when instruction.OpCode == OpCodes.Tailcall:
                Erase(instruction.Offset, instruction.OpCode.Size);
                break;
            case OperandType.InlineNone when instruction.OpCode == OpCodes.Stelem_Ref:
                _instead[instruction.Offset] = CallOf(_info, nameof(Deferral.StoreElement));
                break;
            case OperandType.InlineNone when instruction.OpCode == OpCodes.Stind_Ref:
                _instead[instruction.Offset] = CallOf(_info, nameof(Deferral.StoreReference));
                break;
        }
    }

    /// <summary>Stores of references, and the making of arrays, are where tensors that have no value yet are looked after.</summary>
    private void PatchType(IlInstruction instruction, Type type)
    {
        if (instruction.OpCode == OpCodes.Stelem && OpaqueCallShims.MayHold(type)) _instead[instruction.Offset] = CallOf(_info, nameof(Deferral.StoreElement));
        else if (instruction.OpCode == OpCodes.Stobj && OpaqueCallShims.MayHold(type)) _instead[instruction.Offset] = CallOf(_info, nameof(Deferral.StoreReference));
        else if (instruction.OpCode == OpCodes.Newarr && type == typeof(TorchSharp.torch.Tensor)) _instead[instruction.Offset] = CallOf(_info, nameof(Deferral.NewArray));
        PutToken(instruction, _info.GetTokenFor(type.TypeHandle));
    }

    private static byte[] CallOf(DynamicILInfo info, string helper)
    {
        var code = new byte[CallSize];
        code[0] = CallOpCode;
        BinaryPrimitives.WriteInt32LittleEndian(code.AsSpan(1), info.GetTokenFor(OpaqueCallShims.Helper(helper).MethodHandle));
        return code;
    }

    /// <summary>
    /// C# keeps delegates of lambdas that capture nothing in static fields. The copy has cells of its own for them, or
    /// the model's plain runs would get delegates of rewritten code, and the other way round.
    /// </summary>
    private void PatchField(IlInstruction instruction)
    {
        var field = _body.ResolveField(instruction.Token);
        if (instruction.OpCode == OpCodes.Stfld || instruction.OpCode == OpCodes.Stsfld ? OpaqueCallShims.MayHold(field.FieldType) : typeof(TorchSharp.torch.Tensor).IsAssignableFrom(field.DeclaringType) && !field.IsStatic)
            _before[instruction.Offset] = CallOf(_info, nameof(Deferral.Concrete));
        var isLambdaCache = field.IsStatic && OpClassifier.IsDelegate(field.FieldType) && field.DeclaringType!.Name.StartsWith("<>", StringComparison.Ordinal);
        if (isLambdaCache && instruction.OpCode == OpCodes.Ldsfld) PutCall(instruction, _redirector.LambdaCaches.Load(field));
        else if (isLambdaCache && instruction.OpCode == OpCodes.Stsfld) PutCall(instruction, _redirector.LambdaCaches.Store(field));
        else PutToken(instruction, MemberToken(field));
    }

    private void PatchMethod(int index, IlInstruction instruction)
    {
        var called = _body.ResolveMethod(instruction.Token);
        if (instruction.OpCode == OpCodes.Newobj && TryPatchDelegate(index, instruction, called)) return;
        if ((called.CallingConvention & CallingConventions.VarArgs) == CallingConventions.VarArgs) throw new NotSupportedException("it calls a method with variable arguments");
        if (instruction.OpCode == OpCodes.Jmp) throw new NotSupportedException("it jumps to another method");
        var constraint = index > 0 && _instructions[index - 1].OpCode == OpCodes.Constrained
            ? _body.ResolveType(_instructions[index - 1].Token)
            : null;
        var shim = _redirector.For(instruction.OpCode, called, constraint);
        if (shim is null)
        {
            PutToken(instruction, MemberToken(called));
            return;
        }

        PutCall(instruction, shim);
        if (constraint is not null) Erase(_instructions[index - 1].Offset, instruction.Offset - _instructions[index - 1].Offset);
    }

    /// <summary>
    /// <c>ldftn M; newobj D</c> makes a delegate: both become one call of a shim that makes a delegate of M's copy.
    /// <c>dup; ldvirtftn M; newobj D</c> leaves one reference less on the stack.
    /// </summary>
    private bool TryPatchDelegate(int index, IlInstruction instruction, MethodBase constructor)
    {
        if (index == 0 || !OpClassifier.IsDelegate(constructor.DeclaringType!)) return false;
        var load = _instructions[index - 1];
        var isVirtual = load.OpCode == OpCodes.Ldvirtftn;
        if (!isVirtual && load.OpCode != OpCodes.Ldftn) return false;
        var from = load.Offset;
        if (isVirtual)
        {
            if (index < 2 || _body.Code[_instructions[index - 2].Offset] != Dup) return false;
            from = _instructions[index - 2].Offset;
        }

        if (_redirector.ForDelegate(_body.ResolveMethod(load.Token), constructor.DeclaringType!, isVirtual) is not { } shim) return false;
        Erase(from, instruction.Offset - from);
        PutCall(instruction, shim);
        return true;
    }

    /// <summary>
    /// The compiler turns a call right before a return into a jump, and the caller is gone from stack traces. So such
    /// calls move to the end of the code, where a nop parts them from the return; a branch takes their place.
    /// </summary>
    /// <returns>The code to append.</returns>
    private List<byte> MoveTailCalls()
    {
        var appended = new List<byte>();
        for (var i = 0; i + 1 < _instructions.Count; i++)
        {
            var call = _instructions[i];
            var isPrefixed = i > 0 && _instructions[i - 1].OpCode.OpCodeType == OpCodeType.Prefix && _code[_instructions[i - 1].Offset] != Nop;
            if (call.OpCode.FlowControl != FlowControl.Call || call.OpCode.Size != 1 || isPrefixed || _instructions[i + 1].OpCode != OpCodes.Ret) continue;
            var target = _code.Length + appended.Count;
            appended.AddRange([.. _code.AsSpan(call.Offset, CallSize), Nop, (byte)OpCodes.Ret.Value]);
            _code[call.Offset] = (byte)OpCodes.Br.Value;
            BinaryPrimitives.WriteInt32LittleEndian(_code.AsSpan(call.OperandOffset), target - (call.Offset + CallSize));
        }

        return appended;
    }

    private void PutCall(IlInstruction instruction, DynamicMethod shim)
    {
        _code[instruction.Offset] = CallOpCode;
        PutToken(instruction, _info.GetTokenFor(shim));
    }

    private void PutToken(IlInstruction instruction, int token) =>
        BinaryPrimitives.WriteInt32LittleEndian(_code.AsSpan(instruction.OperandOffset), token);

    private void Erase(int offset, int length) => _code.AsSpan(offset, length).Fill(Nop);

    private int MemberToken(MemberInfo member) => member switch
    {
        Type type => _info.GetTokenFor(type.TypeHandle),
        FieldInfo { DeclaringType: { IsGenericType: true } type } field => _info.GetTokenFor(field.FieldHandle, type.TypeHandle),
        FieldInfo field => _info.GetTokenFor(field.FieldHandle),
        _ => MethodToken(_info, (MethodBase)member),
    };

    private static int MethodToken(DynamicILInfo info, MethodBase method) =>
        method.DeclaringType is { } type && (type.IsGenericType || type.IsArray)
            ? info.GetTokenFor(method.MethodHandle, type.TypeHandle)
            : info.GetTokenFor(method.MethodHandle);

    private byte[] ExceptionTable()
    {
        var clauses = _body.Header.ExceptionHandlingClauses;
        var size = (clauses.Count * FatClauseSize) + 4;
        var table = new MemoryStream(size);
        var writer = new BinaryWriter(table);
        writer.Write(FatExceptionTable | (size << 8));
        foreach (var clause in clauses)
        {
            writer.Write((int)clause.Flags);
            WriteRange(clause.TryOffset, clause.TryLength);
            WriteRange(clause.HandlerOffset, clause.HandlerLength);
            writer.Write(clause.Flags switch
            {
                ExceptionHandlingClauseOptions.Clause => _info.GetTokenFor((clause.CatchType ?? typeof(object)).TypeHandle),
                ExceptionHandlingClauseOptions.Filter => _layout.Moved(clause.FilterOffset),
                _ => 0,
            });
        }

        return table.ToArray();

        void WriteRange(int offset, int length)
        {
            writer.Write(_layout.Moved(offset));
            writer.Write(_layout.Moved(offset + length) - _layout.Moved(offset));
        }
    }
}
