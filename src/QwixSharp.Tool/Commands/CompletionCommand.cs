using System.CommandLine;
using QwixSharp.Tool.Output;

namespace QwixSharp.Tool.Commands;

/// <summary><c>qwix completion</c>: the script that makes a shell complete this command.</summary>
internal sealed class CompletionCommand : QwixCommand
{
    private const string Bash = """
        _qwix() {
          local line
          COMPREPLY=()
          while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -W "$(qwix "[suggest:$COMP_POINT]" "$COMP_LINE" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}")
        }
        complete -o default -F _qwix qwix
        """;

    private const string Zsh = """
        #compdef qwix
        _qwix() {
          local -a found
          found=("${(@f)$(qwix "[suggest:$CURSOR]" "$BUFFER" 2>/dev/null)}")
          compadd -a found || _files
        }
        compdef _qwix qwix
        """;

    private const string PowerShell = """
        Register-ArgumentCompleter -Native -CommandName qwix -ScriptBlock {
          param($word, $line, $position)
          qwix "[suggest:$position]" "$line" | Where-Object { $_ -like "$word*" } | ForEach-Object { [System.Management.Automation.CompletionResult]::new($_) }
        }
        """;

    private static readonly Dictionary<string, string> Scripts = new() { ["bash"] = Bash, ["zsh"] = Zsh, ["pwsh"] = PowerShell };

    private readonly Argument<string> _shell = new("SHELL") { Description = "bash, zsh or pwsh." };

    internal CompletionCommand() : base(
        "completion",
        "Prints the script that makes a shell complete qwix's commands and options.",
        "source <(qwix completion bash)",
        "qwix completion pwsh | Out-String | Invoke-Expression")
    {
        _shell.AcceptOnlyFromAmong([.. Scripts.Keys]);
        Add(_shell);
    }

    /// <inheritdoc/>
    protected override Task<int> RunAsync(ParseResult arguments, Terminal terminal, CancellationToken cancel)
    {
        string script = Scripts[arguments.GetRequiredValue(_shell)];
        if (terminal.Json)
            terminal.WriteJson(new { Script = script });
        else
            terminal.WriteLine(script);
        return Task.FromResult(ExitCode.Success);
    }
}
