using QwixSharp.Interception;

namespace QwixSharp.Tests.Interception;

internal delegate object? Answer(in OpCall call);

/// <summary>Answers ops with a function; wants all of them unless told otherwise.</summary>
internal sealed class FunctionInterceptor(Answer answer, Func<OpDescriptor, bool>? wants = null) : IOpInterceptor
{
    public bool Wants(OpDescriptor op) => wants?.Invoke(op) ?? true;

    public object? Intercept(in OpCall call) => answer(in call);
}
