namespace QwixSharp.Benchmarks.Figures;

/// <summary>Runs all candidates of some figures in turn, round by round, so that what else the machine does meets all of them alike.</summary>
internal static class Contest
{
    private const int Rounds = 11;

    /// <summary>Measures the figures.</summary>
    /// <param name="figures">Figures whose candidates fit in memory together.</param>
    /// <param name="useVnniGoals">Which goals count.</param>
    /// <returns>A row for each figure and peer, the best peer of a figure first.</returns>
    public static IEnumerable<FigureRow> Run(IReadOnlyList<Figure> figures, bool useVnniGoals)
    {
        List<Candidate> candidates = [.. figures.SelectMany(f => f.Peers.Prepend(f.Ours)).Distinct()];
        var begun = 0;
        try
        {
            for (; begun < candidates.Count; begun++)
                candidates[begun].Begin();
            for (var round = -1; round < Rounds; round++)
                foreach (var candidate in candidates)
                {
                    candidate.Turn(keep: round >= 0);
                    // Threads that spin after their work stop before the next turn.
                    Thread.Sleep(2);
                }
        }
        finally
        {
            candidates.Take(begun).ToList().ForEach(c => c.End());
        }
        foreach (var wrong in candidates.Where(c => !c.IsRight))
            Console.Error.WriteLine($"The result of '{wrong.Name}' is not what it should be.");
        return figures.SelectMany(f => Rows(f, useVnniGoals ? f.Goal.Vnni : f.Goal.Avx2));
    }

    private static IEnumerable<FigureRow> Rows(Figure figure, double goal) => figure.Peers
        .OrderBy(p => p.Median)
        .Select(p => new FigureRow(figure.Name, figure.Ours.Median, p.Name, p.Median, figure.Ours.Median / p.Median, goal, figure.Ours.IsRight));
}
