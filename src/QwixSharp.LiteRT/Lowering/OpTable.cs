namespace QwixSharp.LiteRT.Lowering;

/// <summary>Expresses a TorchSharp op by LiteRT's.</summary>
internal delegate View[] LowerOp(Node node);

/// <summary>Which TorchSharp ops can be exported, and how.</summary>
internal static class OpTable
{
    internal static IReadOnlyDictionary<string, LowerOp> All { get; } = new[]
    {
        Arithmetic.Ops, Comparisons.Ops, Activations.Ops, Convolutions.Ops, Products.Ops, Attention.Ops, Pools.Ops, Resizing.Ops, Norms.Ops, Reductions.Ops, Shapes.Ops, Joins.Ops, Lookups.Ops,
    }.SelectMany(table => table).ToDictionary();
}
