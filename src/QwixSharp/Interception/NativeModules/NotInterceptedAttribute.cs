namespace QwixSharp.Interception.NativeModules;

/// <summary>
/// Marks code whose IL must not be copied by interception: calls of it from copied code go to the method as it was
/// compiled. It is for code that asks the native module itself, which would otherwise meet its own replacement.
/// </summary>
[AttributeUsage(AttributeTargets.Class | AttributeTargets.Method)]
internal sealed class NotInterceptedAttribute : Attribute;
