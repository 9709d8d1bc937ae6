using System.Net;
using System.Text;
using QwixSharp.Tool.Analysis;
using QwixSharp.Tool.Output;

namespace QwixSharp.Tool.Reports;

/// <summary>Writes the comparison of two checkpoints as one HTML page that needs no other file.</summary>
internal static class ReportPage
{
    private const int Histograms = 24;
    private const double FairSnr = 15, GoodSnr = 30;

    /// <summary>The page.</summary>
    /// <param name="pair">What was compared.</param>
    /// <param name="reports">What was found of the common tensors.</param>
    internal static string Write(CheckpointPair pair, IReadOnlyList<TensorReport> reports)
    {
        var changed = reports.Where(r => !r.IsEqual).OrderBy(r => r.Error.SnrDb).ToList();
        var parts = new Dictionary<string, string>
        {
            ["title"] = "Quantization report",
            ["paths"] = $"{Escape(pair.A.Path)} ({Escape(pair.A.Layout.Name)}) compared with {Escape(pair.B.Path)} ({Escape(pair.B.Layout.Name)})",
            ["facts"] = Facts(reports, changed),
            ["errors"] = Errors(changed),
            ["histograms"] = string.Concat(changed.Take(Histograms).Select(Histogram)),
            ["sizes"] = Sizes(reports),
            ["missing"] = Missing(pair),
        };
        using var template = typeof(ReportPage).Assembly.GetManifestResourceStream("page.html")!;
        using var reader = new StreamReader(template);
        var page = new StringBuilder(reader.ReadToEnd());
        foreach (var (name, html) in parts)
            page.Replace("{{" + name + "}}", html);
        return page.ToString();
    }

    private static string Facts(IReadOnlyList<TensorReport> reports, IReadOnlyList<TensorReport> changed)
    {
        long before = reports.Sum(r => r.BytesBefore), after = reports.Sum(r => r.BytesAfter), values = reports.Sum(r => r.Error.Values);
        var all = reports.Aggregate(TensorError.None("all"), (sum, r) => sum.Plus(r.Error));
        (string Value, string What)[] facts = [
            (Format.Bytes(before), "before"),
            (Format.Bytes(after), before == 0 ? "after" : $"after: {Format.Number(100.0 * after / before, 1)}% of before"),
            (values == 0 ? "–" : Format.Number(8.0 * after / values, 2), "bits per value after"),
            ($"{Format.Number(all.SnrDb, 1)} dB", "SNR over all values"),
            ($"{changed.Count} of {reports.Count}", "tensors changed"),
            (changed.Count == 0 ? "–" : $"{Format.Number(changed[0].Error.SnrDb, 1)} dB", "SNR of the worst"),
        ];
        return string.Concat(facts.Select(f => $"<div><b>{Escape(f.Value)}</b><span>{Escape(f.What)}</span></div>"));
    }

    private static string Errors(IReadOnlyList<TensorReport> changed)
    {
        if (changed.Count == 0)
            return "<p>No tensor changed.</p>";
        double longest = Math.Max(1, changed.Where(r => double.IsFinite(r.Error.SnrDb)).Select(r => r.Error.SnrDb).DefaultIfEmpty(1).Max());
        var html = new StringBuilder("<table><tr><th>tensor</th><th></th><th>SNR dB</th><th>cosine</th><th>largest error</th><th>stored as</th></tr>");
        foreach (var r in changed)
        {
            string grade = r.Error.SnrDb >= GoodSnr ? "good" : r.Error.SnrDb >= FairSnr ? "fair" : "bad";
            html.Append($"<tr><td>{Escape(r.Error.Name)}</td><td class=\"chart\">{Bar((grade, r.Error.SnrDb / longest))}</td><td>{Format.Number(r.Error.SnrDb, 1)}</td>");
            html.Append($"<td>{Format.Number(r.Error.Cosine, 5)}</td><td>{Format.Short(r.Error.LargestError)}</td><td>{Escape(r.StoredAfter)}</td></tr>");
        }

        return html.Append("</table>").ToString();
    }

    private static string Sizes(IReadOnlyList<TensorReport> reports)
    {
        double largest = Math.Max(1, reports.Select(r => Math.Max(r.BytesBefore, r.BytesAfter)).DefaultIfEmpty(1).Max());
        var html = new StringBuilder("<table><tr><th>tensor</th><th></th><th>before</th><th>after</th><th>shape</th><th>stored as</th></tr>");
        foreach (var r in reports.OrderByDescending(r => r.BytesBefore))
        {
            html.Append($"<tr><td>{Escape(r.Error.Name)}</td><td class=\"chart\">{Bar(("before", r.BytesBefore / largest), ("after", r.BytesAfter / largest))}</td>");
            html.Append($"<td>{Format.Bytes(r.BytesBefore)}</td><td>{Format.Bytes(r.BytesAfter)}</td><td>{Escape(Format.Shape(r.Shape))}</td><td>{Escape(r.StoredAfter)}</td></tr>");
        }

        return html.Append("</table>").ToString();
    }

    /// <summary>Bars one below the other; lengths are parts of the width.</summary>
    private static string Bar(params ReadOnlySpan<(string Kind, double Length)> bars)
    {
        const int height = 7;
        var svg = new StringBuilder($"<svg viewBox=\"0 0 100 {bars.Length * (height + 1)}\" preserveAspectRatio=\"none\" height=\"{bars.Length * (height + 1)}\">");
        for (int i = 0; i < bars.Length; i++)
            svg.Append($"<rect class=\"{bars[i].Kind}\" y=\"{i * (height + 1)}\" width=\"{Format.Number(Math.Clamp(100 * bars[i].Length, 0.3, 100), 2)}\" height=\"{height}\"/>");
        return svg.Append("</svg>").ToString();
    }

    private static string Histogram(TensorReport report)
    {
        const int height = 60;
        int bins = report.Before.Counts.Count;
        double top = Math.Log(1 + report.Before.Counts.Concat(report.After.Counts).Max());
        double Height(long count) => height * Math.Log(1 + count) / top;
        var svg = new StringBuilder($"<svg class=\"histogram\" viewBox=\"0 0 {bins} {height}\" preserveAspectRatio=\"none\" height=\"90\">");
        for (int i = 0; i < bins; i++)
            svg.Append($"<rect class=\"before\" x=\"{i}\" y=\"{Format.Number(height - Height(report.Before.Counts[i]), 1)}\" width=\"1\" height=\"{Format.Number(Height(report.Before.Counts[i]), 1)}\"/>");
        var line = report.After.Counts.Select((count, i) => $"{i} {Format.Number(height - Height(count), 1)} {i + 1} {Format.Number(height - Height(count), 1)}");
        svg.Append($"<polyline class=\"after\" points=\"{string.Join(' ', line)}\"/></svg>");
        string bound = Format.Short(report.Before.Bound);
        return $"<figure><figcaption>{Escape(report.Error.Name)} <span>{Format.Number(report.Error.SnrDb, 1)} dB, {Escape(report.StoredAfter)}</span></figcaption>{svg}<div class=\"axis\"><span>-{bound}</span><span>0</span><span>{bound}</span></div></figure>";
    }

    private static string Missing(CheckpointPair pair)
    {
        (string, IReadOnlyList<string>)[] lists = [
            ("Of other shapes", pair.OtherShape), ($"Only in {pair.A.Path}", pair.OnlyInA), ($"Only in {pair.B.Path}", pair.OnlyInB)];
        return string.Concat(lists.Where(l => l.Item2.Count > 0).Select(l => $"<h2>{Escape(l.Item1)}</h2><ul>{string.Concat(l.Item2.Select(n => $"<li>{Escape(n)}</li>"))}</ul>"));
    }

    private static string Escape(string text) => WebUtility.HtmlEncode(text);
}
