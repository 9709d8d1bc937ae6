namespace QwixSharp.Kernels.Threading;

/// <summary>Work that hands itself out in chunks, so that any number of threads may take part in it.</summary>
internal abstract class KernelJob
{
    /// <summary>Takes chunks until none is left.</summary>
    /// <param name="worker">The number of the thread within this run: 0 for the caller, at most threads − 1.</param>
    public abstract void Run(int worker);

    /// <summary>Tells what the job reads, in order, where that is much and the same at every call.</summary>
    /// <param name="ahead">Of a thread that has taken part in the job.</param>
    public virtual void NoteReads(ReadAhead ahead)
    {
    }
}
