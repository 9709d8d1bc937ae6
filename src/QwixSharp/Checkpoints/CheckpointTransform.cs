using System.Text.RegularExpressions;
using QwixSharp.Checkpoints.Transforms;

namespace QwixSharp.Checkpoints;

/// <summary>
/// Turns the tensors of a checkpoint into those that a model wants: other names, several in one, one in several, axes
/// exchanged. Quantized tensors stay quantized. Nothing is read until a tensor is; transforms compose with <see cref="Then"/>.
/// </summary>
/// <remarks>In patterns of names <c>*</c>, at most one, stands for any text, and for the same text in all names of a transform.</remarks>
public abstract class CheckpointTransform
{
    /// <summary>For the transforms of this library.</summary>
    private protected CheckpointTransform()
    {
    }

    /// <summary>Takes a prefix off the names that have it.</summary>
    /// <param name="prefix">The prefix, such as <c>model.</c>.</param>
    /// <returns>The transform.</returns>
    public static CheckpointTransform StripPrefix(string prefix)
    {
        ArgumentException.ThrowIfNullOrEmpty(prefix);
        return new RenameTransform(n => n.StartsWith(prefix, StringComparison.Ordinal) ? n[prefix.Length..] : n);
    }

    /// <summary>Puts a prefix in front of all names.</summary>
    /// <param name="prefix">The prefix, such as <c>model.</c>.</param>
    /// <returns>The transform.</returns>
    public static CheckpointTransform AddPrefix(string prefix)
    {
        ArgumentException.ThrowIfNullOrEmpty(prefix);
        return new RenameTransform(n => prefix + n);
    }

    /// <summary>Replaces what a regular expression matches in names.</summary>
    /// <param name="pattern">The expression; it may match a part of a name.</param>
    /// <param name="replacement">The text in its place, with <c>$1</c> for groups.</param>
    /// <returns>The transform.</returns>
    /// <exception cref="ArgumentException">The pattern is not a regular expression.</exception>
    public static CheckpointTransform Rename(string pattern, string replacement)
    {
        ArgumentNullException.ThrowIfNull(replacement);
        var regex = new Regex(pattern, RegexOptions.CultureInvariant);
        return new RenameTransform(n => regex.Replace(n, replacement));
    }

    /// <summary>Joins tensors along an axis, such as three projections into one.</summary>
    /// <param name="parts">The patterns of the parts in order, such as <c>*.q_proj.weight</c>.</param>
    /// <param name="whole">The pattern of the result, such as <c>*.qkv.weight</c>.</param>
    /// <param name="axis">The axis.</param>
    /// <returns>The transform; it refuses a checkpoint that has some of the parts for a text but not all.</returns>
    /// <exception cref="ArgumentException">There are fewer than two parts, or a pattern has more than one <c>*</c>.</exception>
    public static CheckpointTransform Fuse(IReadOnlyList<string> parts, string whole, int axis = 0)
    {
        ArgumentNullException.ThrowIfNull(parts);
        ArgumentOutOfRangeException.ThrowIfNegative(axis);
        if (parts.Count < 2)
            throw new ArgumentException("At least two parts make a whole.", nameof(parts));
        return new FuseTransform([.. parts.Select(p => new NamePattern(p))], new NamePattern(whole), axis);
    }

    /// <summary>Cuts tensors along an axis, such as one projection into three.</summary>
    /// <param name="whole">The pattern of the tensor, such as <c>*.qkv.weight</c>.</param>
    /// <param name="parts">The patterns of the parts in order, such as <c>*.q_proj.weight</c>.</param>
    /// <param name="lengths">The length of each part; null for equal ones.</param>
    /// <param name="axis">The axis.</param>
    /// <returns>The transform; it refuses a tensor that does not have the length of its parts.</returns>
    /// <exception cref="ArgumentException">There are fewer than two parts, not as many lengths, or a pattern has more than one <c>*</c>.</exception>
    public static CheckpointTransform Split(string whole, IReadOnlyList<string> parts, IReadOnlyList<long>? lengths = null, int axis = 0)
    {
        ArgumentNullException.ThrowIfNull(parts);
        ArgumentOutOfRangeException.ThrowIfNegative(axis);
        if (parts.Count < 2 || (lengths is not null && (lengths.Count != parts.Count || lengths.Any(l => l <= 0))))
            throw new ArgumentException("There are at least two parts, each with a positive length where lengths are given.", nameof(parts));
        return new SplitTransform(new NamePattern(whole), [.. parts.Select(p => new NamePattern(p))], lengths, axis);
    }

    /// <summary>Exchanges two axes, for instance where weights are stored [in, out].</summary>
    /// <param name="pattern">The pattern of the tensors.</param>
    /// <param name="axis1">An axis.</param>
    /// <param name="axis2">Another.</param>
    /// <returns>The transform; it refuses a tensor that does not have both axes.</returns>
    /// <exception cref="ArgumentException">The pattern has more than one <c>*</c>.</exception>
    public static CheckpointTransform Transpose(string pattern, int axis1 = 0, int axis2 = 1)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(axis1);
        ArgumentOutOfRangeException.ThrowIfNegative(axis2);
        return new TransposeTransform(new NamePattern(pattern), axis1, axis2);
    }

    /// <summary>This transform and then another.</summary>
    /// <param name="next">The other.</param>
    /// <returns>Both in one.</returns>
    public CheckpointTransform Then(CheckpointTransform next)
    {
        ArgumentNullException.ThrowIfNull(next);
        return new ChainTransform(this, next);
    }

    /// <summary>Transforms tensors.</summary>
    /// <param name="tensors">The tensors, such as <see cref="Checkpoint.LogicalTensors"/>.</param>
    /// <returns>The tensors that result; they are valid while the checkpoint is open.</returns>
    /// <exception cref="CheckpointException">The transform does not fit the tensors, or two would have the same name.</exception>
    public IReadOnlyList<LogicalTensor> Apply(IReadOnlyList<LogicalTensor> tensors)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        var result = Transform(tensors).ToList();
        var names = new HashSet<string>(StringComparer.Ordinal);
        if (result.FirstOrDefault(t => !names.Add(t.Name)) is { } twice)
            throw new CheckpointException($"The transform gives two tensors the name {CheckpointException.Quote(twice.Name)}.");
        return result;
    }

    /// <summary>Transforms tensors, without a look at whether names are unique.</summary>
    private protected abstract IEnumerable<LogicalTensor> Transform(IReadOnlyList<LogicalTensor> tensors);

    private sealed class ChainTransform(CheckpointTransform first, CheckpointTransform second) : CheckpointTransform
    {
        private protected override IEnumerable<LogicalTensor> Transform(IReadOnlyList<LogicalTensor> tensors) => second.Apply(first.Apply(tensors));
    }
}
