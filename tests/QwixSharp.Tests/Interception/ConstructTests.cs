using QwixSharp.Tests.Interception.Models;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception;

/// <summary>Every construct of the language runs the same when copied, and every op in it is seen.</summary>
public class ConstructTests
{
    private static readonly Dictionary<string, Type> Models = typeof(ConstructModel).Assembly.GetTypes()
        .Where(type => type.IsSubclassOf(typeof(ConstructModel)) && !type.IsAbstract)
        .ToDictionary(type => type.Name);

    public static TheoryData<string> Names => [.. Models.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void EveryOpIsSeenAndTheResultIsTheSame(string name)
    {
        using var scope = NewDisposeScope();
        random.manual_seed(0);
        using var model = Make(name);
        model.eval();
        var x = randn(2, 4);
        var plain = model.call(x.clone());
        var seen = new RecordingInterceptor();

        var intercepted = Intercepted.Run(model, x.clone(), seen);

        Assert.True(Intercepted.BitEqual(plain, intercepted));
        Assert.True(seen.Calls.Count == model.Ops, $"expected {model.Ops} ops, saw {string.Join(" ", seen.Ops)}");
        Assert.True(Intercepted.BitEqual(plain, model.call(x.clone())));
        Assert.Equal(model.Ops, seen.Calls.Count);
        var again = new RecordingInterceptor();
        Assert.True(Intercepted.BitEqual(plain, Intercepted.Run(model, x.clone(), again)));
        Assert.Equal(model.Ops, again.Calls.Count);
    }

    internal static ConstructModel Make(string name) => (ConstructModel)(Models[name] is { IsGenericTypeDefinition: true } type
        ? Activator.CreateInstance(type.MakeGenericType(typeof(TorchSharp.Modules.Linear)), nn.Linear(4, 4))!
        : Activator.CreateInstance(Models[name])!);
}
