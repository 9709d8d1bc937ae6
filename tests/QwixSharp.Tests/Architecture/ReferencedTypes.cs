using System.Collections.Immutable;
using System.Reflection.Metadata;

namespace QwixSharp.Tests.Architecture;

/// <summary>Decodes signatures to the named types in them, whatever they are wrapped in.</summary>
internal sealed class ReferencedTypes(MetadataReader reader) : ISignatureTypeProvider<IEnumerable<NamedType>, object?>
{
    private readonly string _assembly = reader.GetString(reader.GetAssemblyDefinition().Name);

    /// <summary>The outermost type around a type of the assembly.</summary>
    public NamedType Name(TypeDefinitionHandle handle)
    {
        var type = reader.GetTypeDefinition(handle);
        while (!type.GetDeclaringType().IsNil) type = reader.GetTypeDefinition(type.GetDeclaringType());
        return new NamedType(_assembly, reader.GetString(type.Namespace), reader.GetString(type.Name));
    }

    /// <summary>The outermost type around a type of another assembly.</summary>
    public NamedType Name(TypeReferenceHandle handle)
    {
        var type = reader.GetTypeReference(handle);
        while (type.ResolutionScope.Kind == HandleKind.TypeReference)
            type = reader.GetTypeReference((TypeReferenceHandle)type.ResolutionScope);
        var assembly = type.ResolutionScope.Kind == HandleKind.AssemblyReference
            ? reader.GetString(reader.GetAssemblyReference((AssemblyReferenceHandle)type.ResolutionScope).Name)
            : _assembly;
        return new NamedType(assembly, reader.GetString(type.Namespace), reader.GetString(type.Name));
    }

    /// <summary>The types in a type definition, reference or specification.</summary>
    public IEnumerable<NamedType> Decode(EntityHandle handle) => handle.Kind switch
    {
        HandleKind.TypeDefinition => [Name((TypeDefinitionHandle)handle)],
        HandleKind.TypeReference => [Name((TypeReferenceHandle)handle)],
        _ => reader.GetTypeSpecification((TypeSpecificationHandle)handle).DecodeSignature(this, null),
    };

    public IEnumerable<NamedType> GetTypeFromDefinition(MetadataReader metadata, TypeDefinitionHandle handle, byte rawTypeKind) => [Name(handle)];

    public IEnumerable<NamedType> GetTypeFromReference(MetadataReader metadata, TypeReferenceHandle handle, byte rawTypeKind) => [Name(handle)];

    public IEnumerable<NamedType> GetTypeFromSpecification(MetadataReader metadata, object? context, TypeSpecificationHandle handle, byte rawTypeKind) =>
        Decode(handle);

    public IEnumerable<NamedType> GetPrimitiveType(PrimitiveTypeCode typeCode) => [];

    public IEnumerable<NamedType> GetGenericMethodParameter(object? context, int index) => [];

    public IEnumerable<NamedType> GetGenericTypeParameter(object? context, int index) => [];

    public IEnumerable<NamedType> GetArrayType(IEnumerable<NamedType> elementType, ArrayShape shape) => elementType;

    public IEnumerable<NamedType> GetSZArrayType(IEnumerable<NamedType> elementType) => elementType;

    public IEnumerable<NamedType> GetByReferenceType(IEnumerable<NamedType> elementType) => elementType;

    public IEnumerable<NamedType> GetPointerType(IEnumerable<NamedType> elementType) => elementType;

    public IEnumerable<NamedType> GetPinnedType(IEnumerable<NamedType> elementType) => elementType;

    public IEnumerable<NamedType> GetModifiedType(IEnumerable<NamedType> modifier, IEnumerable<NamedType> unmodifiedType, bool isRequired) =>
        unmodifiedType.Concat(modifier);

    public IEnumerable<NamedType> GetGenericInstantiation(IEnumerable<NamedType> genericType, ImmutableArray<IEnumerable<NamedType>> typeArguments) =>
        genericType.Concat(typeArguments.SelectMany(argument => argument));

    public IEnumerable<NamedType> GetFunctionPointerType(MethodSignature<IEnumerable<NamedType>> signature) =>
        signature.ReturnType.Concat(signature.ParameterTypes.SelectMany(parameter => parameter));
}
