using System.CommandLine;
using QwixSharp.Checkpoints;
using QwixSharp.Tool.Output;

namespace QwixSharp.Tool.Commands;

/// <summary>A command that writes a checkpoint in another form.</summary>
internal abstract class ConversionCommand : QwixCommand
{
    private readonly Argument<string> _input = CommonOptions.Checkpoint("IN", "A checkpoint of any readable format and layout.");
    private readonly Argument<string> _output;

    /// <summary>Describes a command.</summary>
    protected ConversionCommand(string name, string description, string output, params string[] examples) : base(name, description, examples)
    {
        _output = CommonOptions.Checkpoint("OUT", output);
        Add(_input);
        Add(_output);
    }

    /// <inheritdoc/>
    protected sealed override async Task<int> RunAsync(ParseResult arguments, Terminal terminal, CancellationToken cancel)
    {
        string target = arguments.GetRequiredValue(_output);
        using var source = Checkpoint.Open(arguments.GetRequiredValue(_input));
        await terminal.WithProgressAsync(Name, source.Tensors.Sum(t => t.ByteLength), progress => Convert(source, target, arguments, progress, cancel));
        using var written = Checkpoint.Open(target);
        long before = source.Tensors.Sum(t => t.ByteLength), after = written.Tensors.Sum(t => t.ByteLength);
        if (terminal.Json)
            terminal.WriteJson(new { written.Path, written.Format, Layout = written.Layout.Name, Tensors = written.LogicalTensors.Count, BytesBefore = before, BytesAfter = after });
        else
            terminal.WriteLine($"{written.Path}: {written.Format}, layout {written.Layout.Name}, {written.LogicalTensors.Count} tensors, {Format.Bytes(before)} → {Format.Bytes(after)}");
        return ExitCode.Success;
    }

    /// <summary>Writes the checkpoint.</summary>
    protected abstract void Convert(Checkpoint source, string target, ParseResult arguments, ByteProgress progress, CancellationToken cancel);
}
