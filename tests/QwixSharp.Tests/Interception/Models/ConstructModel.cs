using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Interception.Models;

/// <summary>A model that uses one construct of the language, and says how many ops its forward pass has.</summary>
public abstract class ConstructModel() : Module<Tensor, Tensor>("construct")
{
    public abstract int Ops { get; }
}
