using System.Reflection;
using QwixSharp.Interception;
using QwixSharp.Interception.NativeModules;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception;

/// <summary>Which methods are ops, which are copied, and which modules are native.</summary>
public class ClassifierTests
{
    [Fact]
    public void OfThisLibraryOnlyTheManagedEquivalentsAreModelCode()
    {
        Assert.True(MethodClassifier.IsModelType(typeof(RecurrentReplacement)));
        Assert.False(MethodClassifier.IsModelType(typeof(NativeModuleTable)));
        Assert.False(MethodClassifier.IsModelType(typeof(Interceptor)));
        Assert.False(MethodClassifier.IsModelType(typeof(Linear)));
        Assert.False(MethodClassifier.IsModelType(typeof(List<Tensor>)));
        Assert.True(MethodClassifier.IsModelType(typeof(ClassifierTests)));
    }

    [Theory]
    [InlineData("abs", true)]
    [InlineData("matmul", true)]
    [InlineData("op_Addition", true)]
    [InlineData("set_TensorItems", true)]
    [InlineData("op_Implicit", false)]
    [InlineData("MoveToOuterDisposeScope", false)]
    [InlineData("DetachFromDisposeScope", false)]
    [InlineData("get_grad", false)]
    [InlineData("backward", false)]
    [InlineData("item", false)]
    public void OpsOfTensor(string name, bool isOp)
    {
        var methods = typeof(Tensor).GetMember(name, BindingFlags.Public | BindingFlags.Static | BindingFlags.Instance).OfType<MethodInfo>().ToList();
        Assert.NotEmpty(methods);
        Assert.All(methods, method => Assert.Equal(isOp, OpClassifier.IsOp(method)));
    }

    [Fact]
    public void OpsOfTorchButNotItsFactories()
    {
        Assert.True(OpClassifier.IsOp(typeof(TorchSharp.torch).GetMethod("einsum")!));
        Assert.True(OpClassifier.IsOp(typeof(nn.functional).GetMethod("linear")!));
        Assert.True(OpClassifier.IsOp(typeof(linalg).GetMethod("svd")!));
        Assert.False(OpClassifier.IsOp(typeof(nn).GetMethod("Identity")!));
        Assert.False(OpClassifier.IsOp(typeof(nn).GetMethod("Parameter")!));
        Assert.False(OpClassifier.IsOp(typeof(TorchSharp.torch).GetMethod("WrappedTensorDisposeScope")!));
    }

    [Theory]
    [InlineData(typeof(LSTM), true)]
    [InlineData(typeof(GRU), true)]
    [InlineData(typeof(RNN), true)]
    [InlineData(typeof(LSTMCell), true)]
    [InlineData(typeof(MultiheadAttention), true)]
    [InlineData(typeof(Embedding), true)]
    [InlineData(typeof(EmbeddingBag), true)]
    [InlineData(typeof(Transformer), true)]
    [InlineData(typeof(TransformerDecoderLayer), true)]
    [InlineData(typeof(Linear), false)]
    [InlineData(typeof(Conv2d), false)]
    [InlineData(typeof(BatchNorm2d), false)]
    [InlineData(typeof(LayerNorm), false)]
    [InlineData(typeof(Dropout), false)]
    [InlineData(typeof(Sequential), false)]
    [InlineData(typeof(Bilinear), false)]
    public void NativeModules(Type module, bool isNative) =>
        Assert.Equal(isNative, MethodClassifier.RunsNatively(module.GetMethods().First(m => m.Name == "forward" && !m.IsAbstract)));
}
