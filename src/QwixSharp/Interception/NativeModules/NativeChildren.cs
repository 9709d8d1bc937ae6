using System.Reflection;
using System.Runtime.InteropServices;
using TorchSharp;

namespace QwixSharp.Interception.NativeModules;

/// <summary>
/// Reaches the modules inside a native module. TorchSharp gives their parameters but not the modules themselves; its
/// native library exports the means.
/// </summary>
[NotIntercepted]
internal static partial class NativeChildren
{
    private static readonly FieldInfo Handle = typeof(torch.nn.Module).GetField("handle", BindingFlags.NonPublic | BindingFlags.Instance)
        ?? throw new QwixException("TorchSharp.torch.nn.Module has no field 'handle': use the TorchSharp version that QwixSharp was built with.");

    /// <summary>The first module of a type inside a native module, depth first, or null. The caller disposes it.</summary>
    internal static T? First<T>(torch.nn.Module root)
        where T : torch.nn.Module
    {
        var handle = (SafeHandle)Handle.GetValue(root)!;
        var held = false;
        try
        {
            handle.DangerousAddRef(ref held);
            var found = Find(handle.DangerousGetHandle(), "torch::nn::" + typeof(T).Name);
            return found == 0 ? null : (T)Activator.CreateInstance(typeof(T), BindingFlags.NonPublic | BindingFlags.Instance, null, [found, (nint)0], null)!;
        }
        finally
        {
            if (held) handle.DangerousRelease();
        }
    }

    private static nint Find(nint module, string type)
    {
        var count = (int)ChildCount(module);
        for (var i = 0; i < count; i++)
        {
            var child = Child(module, i);
            if (TypeOf(child) is { } name && (name == type || name == type + "Impl")) return child;
            var found = Find(child, type);
            Free(child);
            if (found != 0) return found;
        }

        return 0;
    }

    private static string? TypeOf(nint module)
    {
        var text = Name(module);
        var name = Marshal.PtrToStringAnsi(text);
        Marshal.FreeCoTaskMem(text);
        return name;
    }

    [LibraryImport("LibTorchSharp", EntryPoint = "THSNN_Module_children_size")]
    private static partial nuint ChildCount(nint module);

    [LibraryImport("LibTorchSharp", EntryPoint = "THSNN_Module_child")]
    private static partial nint Child(nint module, int index);

    [LibraryImport("LibTorchSharp", EntryPoint = "THSNN_Module_name")]
    private static partial nint Name(nint module);

    [LibraryImport("LibTorchSharp", EntryPoint = "THSNN_Module_dispose")]
    private static partial void Free(nint module);
}
