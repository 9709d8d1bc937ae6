using TorchSharp;

namespace QwixSharp.Tests;

public class SmokeTests
{
    [Fact]
    public void TorchLoads()
    {
        using var x = torch.ones(2, 3);
        Assert.Equal(6f, x.sum().item<float>());
    }
}
