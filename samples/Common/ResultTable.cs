using System.Globalization;
using Spectre.Console;

namespace QwixSharp.Samples.Common;

/// <summary>A table of results, one row a scheme, numbers aligned right.</summary>
public sealed class ResultTable
{
    private const int RedirectedWidth = 120;
    private readonly Table _table = new Table().Border(TableBorder.Rounded);

    /// <summary>Begins a table.</summary>
    /// <param name="title">Shown above it.</param>
    /// <param name="columns">The heads of the columns; the first holds names, the others numbers.</param>
    public ResultTable(string title, params string[] columns)
    {
        _table.Title(Markup.Escape(title));
        foreach (var (i, column) in columns.Index())
            _table.AddColumn(Markup.Escape(column), c => c.Alignment(i == 0 ? Justify.Left : Justify.Right).NoWrap());
    }

    /// <summary>Adds a row, a cell for each column.</summary>
    public void Add(params string[] cells) => _table.AddRow([.. cells.Select(Markup.Escape)]);

    /// <summary>Writes the table to the console. Redirected output is as wide as the table needs, not as a guessed terminal.</summary>
    public void Write()
    {
        if (Console.IsOutputRedirected)
            AnsiConsole.Profile.Width = Math.Max(AnsiConsole.Profile.Width, RedirectedWidth);
        AnsiConsole.Write(_table);
    }

    /// <summary>A number of bytes, with separators: <c>90,852,864</c>.</summary>
    public static string Bytes(long count) => count.ToString("N0", CultureInfo.InvariantCulture);

    /// <summary>A number with fixed decimals; infinity as <c>∞</c>.</summary>
    public static string Number(double value, int decimals) =>
        double.IsPositiveInfinity(value) ? "∞" : value.ToString("F" + decimals, CultureInfo.InvariantCulture);
}
