using QwixSharp.Samples.Chat;

return CommandLine.Create().Parse(args).Invoke();
