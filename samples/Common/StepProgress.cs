using Spectre.Console;

namespace QwixSharp.Samples.Common;

/// <summary>Shows the steps of a long run: a progress bar on a terminal, one plain line a step where output is redirected.</summary>
public static class StepProgress
{
    /// <summary>Runs the steps one after the other.</summary>
    /// <param name="steps">What to show for each step, and its work. The work reports the part of it that is done, from 0 to 1.</param>
    public static void Run(IReadOnlyList<(string Title, Action<Action<double>> Work)> steps)
    {
        if (!AnsiConsole.Profile.Capabilities.Interactive || Console.IsOutputRedirected)
        {
            foreach (var (title, work) in steps)
            {
                Console.WriteLine($"{title} ...");
                work(_ => { });
            }

            return;
        }

        AnsiConsole.Progress()
            .Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn(), new ElapsedTimeColumn())
            .Start(context =>
            {
                var tasks = steps.Select(step => context.AddTask(Markup.Escape(step.Title), autoStart: false)).ToList();
                foreach (var (task, step) in tasks.Zip(steps))
                {
                    task.StartTask();
                    step.Work(done => task.Value = done * task.MaxValue);
                    task.Value = task.MaxValue;
                    task.StopTask();
                }
            });
    }
}
