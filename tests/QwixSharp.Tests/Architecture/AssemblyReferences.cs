using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;

namespace QwixSharp.Tests.Architecture;

/// <summary>
/// Reads from a built assembly which type mentions which: in base types, interfaces, fields, signatures, locals,
/// constraints, attributes, catch clauses and the instructions of every method. Unlike a look at the source, it sees
/// through aliases, <c>var</c> and inferred type arguments. Constants alone leave no trace, for the compiler copies them.
/// </summary>
internal sealed class AssemblyReferences
{
    private readonly MetadataReader _reader;
    private readonly PEReader _image;
    private readonly ReferencedTypes _types;
    private readonly HashSet<TypeReference> _found = [];
    private NamedType _from;

    private AssemblyReferences(PEReader image)
    {
        _image = image;
        _reader = image.GetMetadataReader();
        _types = new ReferencedTypes(_reader);
    }

    /// <summary>All references of all types of an assembly, to its own types and those of others, without those to itself.</summary>
    public static IReadOnlyCollection<TypeReference> Of(Assembly assembly)
    {
        using var image = new PEReader(File.OpenRead(assembly.Location));
        var references = new AssemblyReferences(image);
        foreach (var handle in references._reader.TypeDefinitions)
            references.ReadType(handle);
        return references._found;
    }

    private void ReadType(TypeDefinitionHandle handle)
    {
        var type = _reader.GetTypeDefinition(handle);
        _from = _types.Name(handle);
        Add(type.BaseType);
        foreach (var implemented in type.GetInterfaceImplementations())
            Add(_reader.GetInterfaceImplementation(implemented).Interface);
        ReadAttributes(type.GetCustomAttributes());
        ReadConstraints(type.GetGenericParameters());
        foreach (var field in type.GetFields().Select(_reader.GetFieldDefinition))
        {
            Add(field.DecodeSignature(_types, null));
            ReadAttributes(field.GetCustomAttributes());
        }
        foreach (var property in type.GetProperties().Select(_reader.GetPropertyDefinition))
            ReadAttributes(property.GetCustomAttributes());
        foreach (var method in type.GetMethods().Select(_reader.GetMethodDefinition))
            ReadMethod(method);
    }

    private void ReadMethod(MethodDefinition method)
    {
        Add(method.DecodeSignature(_types, null));
        ReadAttributes(method.GetCustomAttributes());
        ReadConstraints(method.GetGenericParameters());
        foreach (var parameter in method.GetParameters().Select(_reader.GetParameter))
            ReadAttributes(parameter.GetCustomAttributes());
        if (method.RelativeVirtualAddress == 0) return;

        var body = _image.GetMethodBody(method.RelativeVirtualAddress);
        if (!body.LocalSignature.IsNil)
            foreach (var local in _reader.GetStandaloneSignature(body.LocalSignature).DecodeLocalSignature(_types, null))
                Add(local);
        foreach (var region in body.ExceptionRegions)
            Add(region.CatchType);
        foreach (var token in InstructionTokens.Of(body.GetILReader()))
            Add(token);
    }

    private void ReadAttributes(CustomAttributeHandleCollection attributes)
    {
        foreach (var attribute in attributes)
            Add(_reader.GetCustomAttribute(attribute).Constructor);
    }

    private void ReadConstraints(GenericParameterHandleCollection parameters)
    {
        foreach (var constraint in parameters.SelectMany(parameter => _reader.GetGenericParameter(parameter).GetConstraints()))
            Add(_reader.GetGenericParameterConstraint(constraint).Type);
    }

    private void Add(EntityHandle handle)
    {
        if (handle.IsNil) return;
        switch (handle.Kind)
        {
            case HandleKind.TypeDefinition or HandleKind.TypeReference or HandleKind.TypeSpecification:
                Add(_types.Decode(handle));
                break;
            case HandleKind.FieldDefinition:
                Add(_reader.GetFieldDefinition((FieldDefinitionHandle)handle).GetDeclaringType());
                break;
            case HandleKind.MethodDefinition:
                Add(_reader.GetMethodDefinition((MethodDefinitionHandle)handle).GetDeclaringType());
                break;
            case HandleKind.MemberReference:
                var member = _reader.GetMemberReference((MemberReferenceHandle)handle);
                Add(member.Parent);
                if (member.GetKind() == MemberReferenceKind.Method) Add(member.DecodeMethodSignature(_types, null));
                else Add(member.DecodeFieldSignature(_types, null));
                break;
            case HandleKind.MethodSpecification:
                var method = _reader.GetMethodSpecification((MethodSpecificationHandle)handle);
                Add(method.Method);
                foreach (var argument in method.DecodeSignature(_types, null)) Add(argument);
                break;
            case HandleKind.StandaloneSignature:
                Add(_reader.GetStandaloneSignature((StandaloneSignatureHandle)handle).DecodeMethodSignature(_types, null));
                break;
        }
    }

    private void Add(MethodSignature<IEnumerable<NamedType>> signature)
    {
        Add(signature.ReturnType);
        foreach (var parameter in signature.ParameterTypes) Add(parameter);
    }

    private void Add(IEnumerable<NamedType> types)
    {
        foreach (var type in types)
            if (type != _from)
                _found.Add(new TypeReference(_from, type));
    }
}
