using System.Reflection;
using QwixSharp.Interception.NativeModules;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception.NativeModules;

public class NativeModuleTableTests
{
    [Theory]
    [InlineData(typeof(Embedding))]
    [InlineData(typeof(EmbeddingBag))]
    [InlineData(typeof(LSTM))]
    [InlineData(typeof(GRU))]
    [InlineData(typeof(RNN))]
    [InlineData(typeof(LSTMCell))]
    [InlineData(typeof(GRUCell))]
    [InlineData(typeof(RNNCell))]
    [InlineData(typeof(MultiheadAttention))]
    [InlineData(typeof(TransformerEncoderLayer))]
    [InlineData(typeof(TransformerEncoder))]
    [InlineData(typeof(TransformerDecoderLayer))]
    [InlineData(typeof(TransformerDecoder))]
    [InlineData(typeof(Transformer))]
    public void CoversForwardAndEveryCallThatBypassesIt(Type module)
    {
        const BindingFlags declared = BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly;
        var native = module.GetMethods(declared).Where(m => m.Name is "forward" or "call" && CallsNativeCode(m)).ToArray();
        Assert.Contains(native, m => m.Name == "forward");
        foreach (var method in native)
        {
            var replacement = NativeModuleTable.ReplacementFor(method);
            if (method.GetParameters()[0].ParameterType == typeof(nn.utils.rnn.PackedSequence))
            {
                Assert.Null(replacement);
                continue;
            }

            Assert.NotNull(replacement);
            Assert.True(replacement.IsStatic);
            Assert.Equal(method.ReturnType, replacement.ReturnType);
            Assert.Equal([module, .. method.GetParameters().Select(p => p.ParameterType)], replacement.GetParameters().Select(p => p.ParameterType));
        }
    }

    [Fact]
    public void LeavesManagedModulesAlone()
    {
        Assert.Null(NativeModuleTable.ReplacementFor(typeof(Linear).GetMethod("forward")!));
        Assert.Null(NativeModuleTable.ReplacementFor(typeof(Conv2d).GetMethod("forward")!));
    }

    /// <summary>Whether a method's IL has a call of one of TorchSharp's native functions for modules.</summary>
    private static bool CallsNativeCode(MethodInfo method)
    {
        const byte call = 0x28;
        var il = method.GetMethodBody()!.GetILAsByteArray()!;
        for (var i = 0; i + 4 < il.Length; i++)
        {
            if (il[i] != call) continue;
            try
            {
                if (method.Module.ResolveMethod(BitConverter.ToInt32(il, i + 1)) is { } target && target.Name.StartsWith("THSNN_", StringComparison.Ordinal)) return true;
            }
            catch (Exception e) when (e is ArgumentException or BadImageFormatException)
            {
                // The byte was part of an operand.
            }
        }

        return false;
    }
}
