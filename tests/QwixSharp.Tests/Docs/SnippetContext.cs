using TorchSharp;

namespace QwixSharp.Tests.Docs;

/// <summary>
/// What every snippet of the documentation may use without declaring it. A snippet that declares a variable of the
/// same name uses its own.
/// </summary>
public static class SnippetContext
{
    /// <summary>A small classifier: two linear layers on 64 features.</summary>
    public static torch.nn.Module<torch.Tensor, torch.Tensor> model { get; private set; } = NewModel();

    /// <summary>A batch of 8 inputs of the model.</summary>
    public static torch.Tensor input { get; private set; } = NewInput();

    /// <summary>Gives the next snippet a model and an input that no other has touched.</summary>
    internal static void Reset()
    {
        model.Dispose();
        input.Dispose();
        model = NewModel();
        input = NewInput();
    }

    private static torch.nn.Module<torch.Tensor, torch.Tensor> NewModel() =>
        torch.nn.Sequential(("up", torch.nn.Linear(64, 128)), ("act", torch.nn.ReLU()), ("down", torch.nn.Linear(128, 10)));

    private static torch.Tensor NewInput() => torch.randn(8, 64).DetachFromDisposeScope();
}
