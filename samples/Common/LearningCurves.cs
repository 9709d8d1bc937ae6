using ScottPlot;

namespace QwixSharp.Samples.Common;

/// <summary>The loss and the accuracy of training runs, step by step, drawn as one picture: the loss above, the accuracy below.</summary>
/// <param name="title">Shown above.</param>
/// <param name="unit">What the steps are, shown below.</param>
public sealed class LearningCurves(string title, string unit = "step")
{
    private const int Width = 900;
    private const int Height = 800;
    private readonly Dictionary<string, Curve> _losses = [];
    private readonly Dictionary<string, Curve> _accuracies = [];

    /// <summary>Adds the loss of a run at a step.</summary>
    /// <param name="run">The name of the run.</param>
    /// <param name="step">The step.</param>
    /// <param name="loss">The loss.</param>
    public void AddLoss(string run, double step, double loss) => Add(_losses, run, step, loss);

    /// <summary>Adds the accuracy of a run at a step.</summary>
    /// <param name="run">The name of the run.</param>
    /// <param name="step">The step.</param>
    /// <param name="accuracy">The accuracy, from 0 to 1; drawn in percent.</param>
    public void AddAccuracy(string run, double step, double accuracy) => Add(_accuracies, run, step, 100 * accuracy);

    /// <summary>Draws the curves.</summary>
    /// <param name="path">The PNG file; one that is there is replaced.</param>
    /// <returns>The whole path of the file.</returns>
    public string Save(string path)
    {
        var picture = new Multiplot();
        picture.AddPlots(2);
        Draw(picture.GetPlot(0), _losses, title, "loss", Alignment.UpperRight);
        Draw(picture.GetPlot(1), _accuracies, "", "accuracy (%)", Alignment.LowerRight);
        var full = Path.GetFullPath(path);
        picture.SavePng(full, Width, Height);
        return full;
    }

    private static void Add(Dictionary<string, Curve> curves, string run, double step, double value)
    {
        if (!curves.TryGetValue(run, out var curve))
            curves[run] = curve = new Curve([], []);
        curve.Steps.Add(step);
        curve.Values.Add(value);
    }

    private void Draw(Plot plot, Dictionary<string, Curve> curves, string title, string axis, Alignment legend)
    {
        foreach (var (run, curve) in curves)
        {
            var line = plot.Add.Scatter(curve.Steps.ToArray(), curve.Values.ToArray());
            line.LegendText = run;
            line.LineWidth = 2;
            line.MarkerSize = curve.Steps.Count > 30 ? 0 : 6;
        }

        plot.Title(title);
        plot.XLabel(unit);
        plot.YLabel(axis);
        plot.ShowLegend(legend);
    }

    private sealed record Curve(List<double> Steps, List<double> Values);
}
