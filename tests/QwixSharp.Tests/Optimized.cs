using System.Diagnostics;

// What the compiler writes for debugging is what interception must be able to copy; the JIT may optimize it all the same, since
// plain references to compare with take most of the time of the tests of kernels.
[assembly: Debuggable(DebuggableAttribute.DebuggingModes.IgnoreSymbolStoreSequencePoints)]
