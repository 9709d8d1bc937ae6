using QwixSharp.Ops;

namespace QwixSharp.Providers.Models;

/// <summary>A module's convolution of codes.</summary>
/// <param name="Layer">The convolution.</param>
/// <param name="Count">The number of the op among those of its name that the module calls.</param>
/// <param name="Place">The place of its input's static scale, or null where each image has the scale of its own values.</param>
internal sealed record RememberedConvolution(ConvolutionLayer Layer, int Count, string? Place);

/// <summary>A module's linear layer whose input has a static scale.</summary>
/// <param name="Layer">The layer.</param>
/// <param name="Count">The number of the op among those of its name that the module calls.</param>
/// <param name="Place">The place of its static scale.</param>
internal sealed record RememberedLinear(StaticLinear Layer, int Count, string Place);
