using System.Collections.Concurrent;
using Iced.Intel;

namespace QwixSharp.Kernels.Assembled;

/// <summary>Assembled kernels by their shape; each is made once, when it is first needed, and kept for the process.</summary>
/// <typeparam name="TShape">What distinguishes the kernels.</typeparam>
/// <param name="emit">Emits the kernel of a shape.</param>
internal sealed unsafe class CodeCache<TShape>(Action<Assembler, TShape> emit)
    where TShape : notnull
{
    private readonly ConcurrentDictionary<TShape, ExecutableMemory> _kernels = new();

    /// <summary>The kernel of a shape: a function of one pointer.</summary>
    /// <param name="shape">The shape.</param>
    public void* Get(TShape shape) =>
        _kernels.TryGetValue(shape, out var known) ? known.Entry : _kernels.GetOrAdd(shape, Make).Entry;

    /// <summary>The machine code of a shape, for a look at it.</summary>
    /// <param name="shape">The shape.</param>
    public byte[] Assemble(TShape shape)
    {
        var assembler = new Assembler(64);
        emit(assembler, shape);
        using var code = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(code), 0);
        return code.ToArray();
    }

    private ExecutableMemory Make(TShape shape) =>
        ExecutableMemory.TryMap(Assemble(shape)) ?? throw new QwixException(
            "The system refused executable memory for a kernel, though it granted it before. Set QWIXSHARP_ASSEMBLED=0 to do without assembled kernels.");
}
