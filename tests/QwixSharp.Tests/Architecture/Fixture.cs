namespace QwixSharp.Tests.Architecture.Fixture;

/// <summary>Uses the other types of this file, each in one way only, for the tests of what reads it.</summary>
[UsedAsAttribute]
internal sealed class User : UsedAsBase, IUsedAsInterface
{
    public UsedInField[]? Field = null;

    public UsedInProperty? Property { get; set; }

    public static unsafe void Parameter(UsedAsParameter* pointer) => _ = pointer;

    public static UsedAsResult? Result() => null;

    public static void TypeArgument(List<Dictionary<string, UsedAsTypeArgument>> nested) => _ = nested;

    public static void Constraint<T>(T value) where T : UsedAsConstraint => _ = value;

    public static string Call() => UsedInCall.Text();

    public static int GenericCall() => Array.Empty<UsedInGenericCall>().Length;

    public static string Typeof() => typeof(UsedInTypeof).Name;

    public static void Catch()
    {
        try
        {
            Console.Write("");
        }
        catch (UsedInCatch)
        {
        }
    }

    public static Func<string> Lambda() => () => UsedInLambda.Text();

    public static IEnumerable<string> Iterator()
    {
        yield return UsedInIterator.Text();
    }

    public static string AfterSwitch(int value)
    {
        var text = value switch { 0 => "a", 1 => "b", 2 => "c", 3 => "d", 4 => "e", _ => "f" };
        return text + UsedAfterSwitch.Text() + 3.5 + 1L;
    }
}

internal class UsedAsBase;

internal interface IUsedAsInterface;

internal class UsedInField;

internal class UsedInProperty;

internal struct UsedAsParameter;

internal class UsedAsResult;

internal class UsedAsTypeArgument;

internal class UsedAsConstraint;

internal sealed class UsedAsAttribute : Attribute;

internal static class UsedInCall
{
    public static string Text() => "";
}

internal class UsedInGenericCall;

internal class UsedInTypeof;

internal class UsedInCatch : Exception;

internal static class UsedInLambda
{
    public static string Text() => "";
}

internal static class UsedInIterator
{
    public static string Text() => "";
}

internal static class UsedAfterSwitch
{
    public static string Text() => "";
}

internal class NeverUsed;
