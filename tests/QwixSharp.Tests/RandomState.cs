namespace QwixSharp.Tests;

/// <summary>
/// Tests that compare two draws from libtorch's one random state: they run while no other test does.
/// </summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class RandomState
{
    public const string Name = "The random state of the process";
}
