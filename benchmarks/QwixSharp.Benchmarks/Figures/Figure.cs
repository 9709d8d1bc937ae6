namespace QwixSharp.Benchmarks.Figures;

/// <summary>A line of the table: ours against some peers, and how much of the best one's time it may take.</summary>
/// <param name="Name">The work.</param>
/// <param name="Goal">The most of ours ÷ the best peer, on each kind of machine.</param>
/// <param name="Ours">Our candidate.</param>
/// <param name="Peers">Who does the same work.</param>
internal sealed record Figure(string Name, Goal Goal, Candidate Ours, params Candidate[] Peers);

/// <summary>A goal by instruction set.</summary>
/// <param name="Avx2">Where there is AVX2 at most.</param>
/// <param name="Vnni">Where there is AVX-512 with VNNI.</param>
internal readonly record struct Goal(double Avx2, double Vnni)
{
    /// <summary>The same on all machines.</summary>
    public static implicit operator Goal(double both) => new(both, both);

    public static implicit operator Goal((double Avx2, double Vnni) goals) => new(goals.Avx2, goals.Vnni);
}

/// <summary>A measured line for one peer, as the JSON file has it.</summary>
/// <param name="Name">The work.</param>
/// <param name="OursMs">Our median, in milliseconds.</param>
/// <param name="Peer">The peer.</param>
/// <param name="PeerMs">The peer's median, in milliseconds.</param>
/// <param name="Ratio">Ours ÷ peer's.</param>
/// <param name="Goal">The most that the ratio may be.</param>
/// <param name="Exact">Whether our result agrees with the reference.</param>
internal sealed record FigureRow(string Name, double OursMs, string Peer, double PeerMs, double Ratio, double Goal, bool Exact);
