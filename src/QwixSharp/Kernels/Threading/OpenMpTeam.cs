using System.Diagnostics;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace QwixSharp.Kernels.Threading;

/// <summary>
/// Runs a <see cref="KernelJob"/> on the OpenMP threads of libtorch, where it is built with GNU's libgomp (Linux).
/// </summary>
/// <remarks>
/// After each of its own parallel ops libtorch's threads spin for some milliseconds, waiting for the next. Threads of our
/// own would have to share the cores with them, and a product would wait until the system lets both run. As one of
/// libtorch's parallel regions, a product starts at once and fights nobody; so <see cref="KernelPool"/> leaves its work to the team
/// where such ops come often. But a region ends only when all of its threads
/// have run, and where other processes use the processor too, one of them may have to wait for a time slice, thousands of
/// times longer than a small product takes. After some such waits close to each other the team rests for a while, and products
/// run on our own threads all the same. One now and then, as on any machine, is no reason. <c>QWIXSHARP_OPENMP=0</c> turns the team off.
/// </remarks>
internal static unsafe class OpenMpTeam
{
    private const long SearchIntervalMilliseconds = 500;

    /// <summary>A wait that no chunk of work explains.</summary>
    private static readonly long LongWait = Stopwatch.Frequency / 500;

    private static readonly TeamPatience Patience = new(waits: 3);

    private static readonly bool IsAllowed = OperatingSystem.IsLinux() && Environment.GetEnvironmentVariable("QWIXSHARP_OPENMP") != "0";

    private static delegate* unmanaged<delegate* unmanaged<nint, void>, nint, uint, uint, void> _parallel;
    private static long _nextSearch;

    /// <summary>What the calling thread hands to its team. Kept for the thread's life: a product allocates nothing.</summary>
    [ThreadStatic]
    private static Team? _team;

    /// <summary>Whether libtorch's threads can be used. It is asked again until libtorch has been loaded.</summary>
    public static bool IsAvailable => _parallel != null || (IsAllowed && Search());

    /// <summary>Whether the team is available but had to wait for the processor not long ago.</summary>
    public static bool Rests => Patience.Rests;

    /// <summary>Runs the job to its end on the caller and the threads that wait for it.</summary>
    /// <param name="job">The work.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Run(KernelJob job, int threads)
    {
        var team = _team ??= new Team();
        team.Begin(job);
        _parallel(&Body, team.Handle, (uint)threads, 0);
        Patience.Judge(TeamPatience.IsLong(team.Waited, team.Worked, LongWait));
        team.End();
    }

    [UnmanagedCallersOnly]
    private static void Body(nint team) => ((Team)GCHandle.FromIntPtr(team).Target!).Work();

    /// <summary>Finds libgomp beside libtorch among what this process has loaded.</summary>
    private static bool Search()
    {
        long now = Environment.TickCount64;
        if (now < Volatile.Read(ref _nextSearch))
            return false;
        Volatile.Write(ref _nextSearch, now + SearchIntervalMilliseconds);
        try
        {
            string[] loaded = [.. File.ReadLines("/proc/self/maps").Select(line => line[(line.IndexOf('/') is var i and >= 0 ? i : line.Length)..]).Where(path => path.Length > 0).Distinct()];
            var folder = Path.GetDirectoryName(loaded.FirstOrDefault(path => path.Contains("libtorch_cpu", StringComparison.Ordinal)));
            var library = loaded.FirstOrDefault(path => folder is not null && Path.GetDirectoryName(path) == folder && Path.GetFileName(path).StartsWith("libgomp", StringComparison.Ordinal));
            if (library is null || !NativeLibrary.TryLoad(library, out var handle) || !NativeLibrary.TryGetExport(handle, "GOMP_parallel", out var parallel))
                return false;
            _parallel = (delegate* unmanaged<delegate* unmanaged<nint, void>, nint, uint, uint, void>)parallel;
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private sealed class Team
    {
        private KernelJob? _job;
        private ExceptionDispatchInfo? _failure;
        private int _joined;
        private int _caller;
        private long _began;
        private long _ended;

        internal Team() => Handle = GCHandle.ToIntPtr(GCHandle.Alloc(this, GCHandleType.Weak));

        ~Team() => GCHandle.FromIntPtr(Handle).Free();

        internal nint Handle { get; }

        /// <summary>How long the caller worked.</summary>
        internal long Worked => _ended - _began;

        /// <summary>How long ago the caller's work ended.</summary>
        internal long Waited => Stopwatch.GetTimestamp() - _ended;

        internal void Begin(KernelJob job)
        {
            _job = job;
            _joined = 0;
            _caller = Environment.CurrentManagedThreadId;
            _began = Stopwatch.GetTimestamp();
        }

        internal void Work()
        {
            if (Environment.CurrentManagedThreadId != _caller)
            {
                Take(Interlocked.Increment(ref _joined));
                return;
            }
            Take(0);
            _ended = Stopwatch.GetTimestamp();
        }

        internal void End()
        {
            _job = null;
            Interlocked.Exchange(ref _failure, null)?.Throw();
        }

        private void Take(int worker)
        {
            try
            {
                _job!.Run(worker);
            }
            catch (Exception e)
            {
                Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(e), null);
            }
        }
    }
}
