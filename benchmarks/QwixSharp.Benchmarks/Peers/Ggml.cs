using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Benchmarks.Peers;

/// <summary>The part of ggml's C interface that a product needs, from the natives of LLamaSharp.Backend.Cpu.</summary>
internal static unsafe partial class Ggml
{
    public const int Float32 = 0, Q4Block32 = 2, Q8Block32 = 8;

    private const string Base = "ggml-base", Cpu = "ggml-cpu";

    private static readonly string Folder = Path.Combine(
        AppContext.BaseDirectory, "runtimes", $"{(OperatingSystem.IsWindows() ? "win" : OperatingSystem.IsMacOS() ? "osx" : "linux")}-{(Avx.IsSupported ? "x64" : "arm64")}", "native", Variant);

    static Ggml()
    {
        NativeLibrary.SetDllImportResolver(typeof(Ggml).Assembly, Resolve);
        SetLog(&Ignore, 0);
    }

    /// <summary>The build that the machine runs best.</summary>
    public static string Variant => Avx512BW.IsSupported ? "avx512" : Avx2.IsSupported ? "avx2" : Avx.IsSupported ? "avx" : "";

    /// <summary>Whether the natives are there.</summary>
    public static bool IsAvailable => File.Exists(PathOf(Cpu));

    /// <summary>What ggml_init takes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public readonly record struct InitParameters(nuint Size, nint Buffer, byte NoAllocation);

    [LibraryImport(Base, EntryPoint = "ggml_init")]
    public static partial nint Init(InitParameters parameters);

    [LibraryImport(Base, EntryPoint = "ggml_free")]
    public static partial void Free(nint context);

    [LibraryImport(Base, EntryPoint = "ggml_new_tensor_2d")]
    public static partial nint NewTensor(nint context, int type, long columns, long rows);

    [LibraryImport(Base, EntryPoint = "ggml_nbytes")]
    public static partial nuint Bytes(nint tensor);

    [LibraryImport(Base, EntryPoint = "ggml_mul_mat")]
    public static partial nint MatMul(nint context, nint weight, nint x);

    [LibraryImport(Base, EntryPoint = "ggml_new_graph")]
    public static partial nint NewGraph(nint context);

    [LibraryImport(Base, EntryPoint = "ggml_build_forward_expand")]
    public static partial void Expand(nint graph, nint result);

    [LibraryImport(Base, EntryPoint = "ggml_quantize_chunk")]
    public static partial nuint Quantize(int type, float* values, void* blocks, long start, long rows, long columns, float* importance);

    [LibraryImport(Base, EntryPoint = "ggml_backend_alloc_ctx_tensors_from_buft")]
    public static partial nint Allocate(nint context, nint bufferType);

    [LibraryImport(Base, EntryPoint = "ggml_backend_buffer_free")]
    public static partial void FreeBuffer(nint buffer);

    [LibraryImport(Base, EntryPoint = "ggml_backend_cpu_buffer_type")]
    public static partial nint PlainBufferType();

    [LibraryImport(Base, EntryPoint = "ggml_backend_tensor_set")]
    public static partial void Set(nint tensor, void* data, nuint offset, nuint bytes);

    [LibraryImport(Base, EntryPoint = "ggml_backend_tensor_get")]
    public static partial void Get(nint tensor, void* data, nuint offset, nuint bytes);

    [LibraryImport(Base, EntryPoint = "ggml_backend_graph_compute")]
    public static partial int Compute(nint backend, nint graph);

    [LibraryImport(Base, EntryPoint = "ggml_backend_free")]
    public static partial void FreeBackend(nint backend);

    [LibraryImport(Cpu, EntryPoint = "ggml_backend_cpu_init")]
    public static partial nint NewBackend();

    [LibraryImport(Cpu, EntryPoint = "ggml_backend_cpu_set_n_threads")]
    public static partial void SetThreads(nint backend, int threads);

    /// <summary>The kind of memory that ggml rearranges 4-bit weights in, for its faster kernels; 0 if this build has none.</summary>
    public static nint RearrangingBufferType()
    {
        var registry = CpuRegistry();
        var extra = (delegate* unmanaged<nint, nint*>)ProcAddress(registry, "ggml_backend_dev_get_extra_bufts");
        if (extra == null)
            return 0;
        for (var type = extra(Device(registry, 0)); type != null && *type != 0; type++)
            if (Marshal.PtrToStringUTF8(BufferTypeName(*type)) == "CPU_REPACK")
                return *type;
        return 0;
    }

    [LibraryImport(Base, EntryPoint = "ggml_log_set")]
    private static partial void SetLog(delegate* unmanaged<int, byte*, nint, void> log, nint state);

    [UnmanagedCallersOnly]
    private static void Ignore(int level, byte* text, nint state)
    {
    }

    [LibraryImport(Cpu, EntryPoint = "ggml_backend_cpu_reg")]
    private static partial nint CpuRegistry();

    [LibraryImport(Base, EntryPoint = "ggml_backend_reg_dev_get")]
    private static partial nint Device(nint registry, nuint index);

    [LibraryImport(Base, EntryPoint = "ggml_backend_reg_get_proc_address", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint ProcAddress(nint registry, string name);

    [LibraryImport(Base, EntryPoint = "ggml_backend_buft_name")]
    private static partial nint BufferTypeName(nint type);

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? path) =>
        name is Base or Cpu ? NativeLibrary.Load(PathOf(name)) : 0;

    private static string PathOf(string name) =>
        Path.Combine(Folder, OperatingSystem.IsWindows() ? $"{name}.dll" : OperatingSystem.IsMacOS() ? $"lib{name}.dylib" : $"lib{name}.so");
}
