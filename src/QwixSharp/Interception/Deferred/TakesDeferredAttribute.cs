namespace QwixSharp.Interception.Deferred;

/// <summary>
/// A method of this library that copied code may hand tensors without values. It reads them by <see cref="DeferredValues"/>, and where
/// it got one, its result may be one.
/// </summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class TakesDeferredAttribute : Attribute;
