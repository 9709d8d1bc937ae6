namespace QwixSharp.Tests.Architecture;

/// <summary>The rooms of the library depend on each other in one direction.</summary>
public class DependencyDirectionTests
{
    [Fact]
    public void RoomsFollowTheDesign()
    {
        var references = AssemblyReferences.Of(typeof(QwixException).Assembly);

        var faults = references.Select(Rooms.Fault).OfType<string>().Order().ToArray();

        Assert.True(faults.Length == 0, string.Join(Environment.NewLine, faults));
    }

    [Fact]
    public void ReadsWhatTheLibraryIsKnownToUse()
    {
        var references = AssemblyReferences.Of(typeof(QwixException).Assembly);

        Assert.Contains(references, found => found is { From.Name: "QArray", To: { Namespace: "QwixSharp.Numerics", Name: "QType" } });
        Assert.Contains(references, found => found is { From.Name: "IOpInterceptor", To: { Namespace: "QwixSharp.Interception", Name: "OpCall" } });
        Assert.Contains(references, found => found is { From.Namespace: "QwixSharp.Interception", To: { Assembly: "TorchSharp", Name: "torch" } });
    }

    [Theory]
    [InlineData("UsedAsBase")]
    [InlineData("IUsedAsInterface")]
    [InlineData("UsedInField")]
    [InlineData("UsedInProperty")]
    [InlineData("UsedAsParameter")]
    [InlineData("UsedAsResult")]
    [InlineData("UsedAsTypeArgument")]
    [InlineData("UsedAsConstraint")]
    [InlineData("UsedAsAttribute")]
    [InlineData("UsedInCall")]
    [InlineData("UsedInGenericCall")]
    [InlineData("UsedInTypeof")]
    [InlineData("UsedInCatch")]
    [InlineData("UsedInLambda")]
    [InlineData("UsedInIterator")]
    [InlineData("UsedAfterSwitch")]
    public void SeesEveryKindOfUse(string used)
    {
        var references = AssemblyReferences.Of(GetType().Assembly);

        Assert.Contains(references, found => found.From.Name == nameof(Fixture.User) && found.To.Name == used);
        Assert.DoesNotContain(references, found => found.From.Name == nameof(Fixture.User) && found.To.Name == nameof(Fixture.NeverUsed));
    }

    [Theory]
    [InlineData("Kernels", "Numerics")]
    [InlineData("Numerics", "Arrays")]
    [InlineData("Arrays", "Ops")]
    [InlineData("Ops", "Interception")]
    [InlineData("Rules", "Arrays")]
    [InlineData("Interception", "Numerics")]
    [InlineData("Checkpoints", "Ops")]
    [InlineData("Elsewhere", "Numerics")]
    public void ToldOfAnyOtherDirection(string from, string to) =>
        Assert.Contains($"QwixSharp.{from}.User", Rooms.Fault(new TypeReference(In($"QwixSharp.{from}"), In($"QwixSharp.{to}"))), StringComparison.Ordinal);

    [Fact]
    public void ToldOfTheFrontDoorAndOfForeignLibraries()
    {
        Assert.NotNull(Rooms.Fault(new TypeReference(In("QwixSharp.Providers"), new NamedType("QwixSharp", "QwixSharp", "Qwix"))));
        Assert.NotNull(Rooms.Fault(new TypeReference(In("QwixSharp.Interception.Rewriting"), new NamedType("Iced", "Iced.Intel", "Assembler"))));
    }

    [Fact]
    public void AllowsTheDirectionsOfTheDesign()
    {
        Assert.All(
            Rooms.MayDependOn.SelectMany(room => room.Value.Select(to => (From: room.Key, To: to))),
            pair => Assert.Null(Rooms.Fault(new TypeReference(In($"QwixSharp.{pair.From}.Deeper"), In($"QwixSharp.{pair.To}")))));
        Assert.Null(Rooms.Fault(new TypeReference(In("QwixSharp.Rules"), In("QwixSharp.Arrays") with { Name = "TileSize" })));
        Assert.Null(Rooms.Fault(new TypeReference(In("QwixSharp.Kernels"), new NamedType("QwixSharp", "QwixSharp", nameof(QwixException)))));
        Assert.Null(Rooms.Fault(new TypeReference(In("QwixSharp"), In("QwixSharp.Providers"))));
    }

    [Fact]
    public void NoRoomDependsOnItselfInACircle()
    {
        foreach (var room in Rooms.MayDependOn.Keys)
            Assert.DoesNotContain(room, Reachable(room));

        static IEnumerable<string> Reachable(string room) =>
            Rooms.MayDependOn[room].SelectMany(next => Reachable(next).Prepend(next));
    }

    private static NamedType In(string room) => new("QwixSharp", room, "User");
}
