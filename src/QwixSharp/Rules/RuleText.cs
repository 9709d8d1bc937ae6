using System.Collections;

namespace QwixSharp.Rules;

/// <summary>Writes a rule as a user would write it, for messages.</summary>
internal static class RuleText
{
    internal static string Describe(QuantizationRule rule)
    {
        var defaults = Activator.CreateInstance(rule.GetType())!;
        List<string> settings = [$"ModulePath = \"{rule.ModulePath}\""];
        foreach (var property in rule.GetType().GetProperties())
        {
            if (property.Name is nameof(QuantizationRule.ModulePath) or "EqualityContract" || IsFilledIn(rule, property.Name))
                continue;
            var value = Text(property.GetValue(rule));
            if (value is not null && value != Text(property.GetValue(defaults)))
                settings.Add($"{property.Name} = {value}");
        }

        return "{ " + string.Join(", ", settings) + " }";
    }

    /// <summary>Whether a setting has the value that providers fill in where the user gave none.</summary>
    private static bool IsFilledIn(QuantizationRule rule, string setting) => setting switch
    {
        nameof(rule.ActStaticScale) => rule.ActStaticScale == false,
        nameof(rule.ActCalibrationMethod) => rule.ActCalibrationMethod == Arrays.CalibrationMethod.AbsMax(),
        _ => false,
    };

    private static string? Text(object? value) => value switch
    {
        null => null,
        string text => $"\"{text}\"",
        IEnumerable items => "[" + string.Join(", ", items.Cast<object?>().Select(Text)) + "]",
        _ => value.ToString(),
    };
}
