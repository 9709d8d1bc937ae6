using System.Reflection;

namespace QwixSharp.Interception.NativeModules;

/// <summary>
/// Maps the <c>forward</c> methods of TorchSharp modules that run wholly in native code to managed equivalents,
/// whose single ops interception can see.
/// </summary>
internal static class NativeModuleTable
{
    /// <summary>
    /// The managed equivalent of a native module's <c>forward</c>: a static method whose first parameter is the
    /// module and whose other parameters and result are those of <paramref name="forward"/>.
    /// </summary>
    /// <param name="forward">The resolved <c>forward</c> method of a TorchSharp module.</param>
    /// <returns>The equivalent, or null where the module's own managed code can be intercepted as it is.</returns>
    internal static MethodInfo? ReplacementFor(MethodInfo forward) => null;
}
