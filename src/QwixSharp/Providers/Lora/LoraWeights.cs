using QwixSharp.Rules;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Lora;

/// <summary>What one adapter adds to one weight: <c>s·A·B</c>. It belongs to the model.</summary>
public sealed class LoraWeights
{
    internal LoraWeights(Parameter a, Parameter b, int rank, double alpha, bool rankStabilized, double dropout)
    {
        (A, B, Rank, Alpha, RankStabilized, Dropout) = (a, b, rank, alpha, rankStabilized, dropout);
    }

    /// <summary>
    /// The side of the input: [in, rank] for a matrix, [rank, in ÷ groups, spatial…] for a convolution; for other products
    /// the weight's batch axes and contracted axes, then the rank.
    /// </summary>
    public Parameter A { get; private set; }

    /// <summary>The side of the output: [rank, out] for a matrix and a convolution.</summary>
    public Parameter B { get; private set; }

    /// <summary>r.</summary>
    public int Rank { get; }

    /// <summary>α.</summary>
    public double Alpha { get; }

    /// <summary>Whether s is α ÷ √r rather than α ÷ r.</summary>
    public bool RankStabilized { get; }

    /// <summary>The probability with which values of the input are dropped in training mode.</summary>
    public double Dropout { get; }

    /// <summary>s, by which A·B is multiplied.</summary>
    public double Scaling => Alpha / (RankStabilized ? Math.Sqrt(Rank) : Rank);

    /// <summary>New weights as a rule says, of a dtype and on a device.</summary>
    internal static LoraWeights Create(LoraRule rule, LoraForm form, ScalarType dtype, Device device)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var a = empty(form.ShapeA(rule.Rank), dtype, device);
        var b = zeros(form.ShapeB(rule.Rank), dtype, device);
        if (rule.InitializeA is { } initialize)
        {
            initialize(a);
        }
        else if (device.type != DeviceType.META)
        {
            double limit = Math.Sqrt(6.0 * rule.Rank / a.NumberOfElements);
            a.uniform_(-limit, limit);
        }

        rule.InitializeB?.Invoke(b);
        return new LoraWeights(Own(a), Own(b), rule.Rank, rule.Alpha, rule.RankStabilized, rule.Dropout);
    }

    /// <summary>A parameter that belongs to no dispose scope.</summary>
    internal static Parameter Own(Tensor value) => (Parameter)new Parameter(value.DetachFromDisposeScope()).DetachFromDisposeScope();

    internal void Train(bool train)
    {
        A.requires_grad_(train);
        B.requires_grad_(train);
    }

    internal void Move(Device? device, ScalarType? dtype)
    {
        (A, B) = (Moved(A, device, dtype), Moved(B, device, dtype));
    }

    internal void Dispose()
    {
        A.Dispose();
        B.Dispose();
    }

    private static Parameter Moved(Parameter parameter, Device? device, ScalarType? dtype)
    {
        if ((device is null || device == parameter.device) && (dtype is null || dtype == parameter.dtype))
            return parameter;
        using var noGrad = no_grad();
        using (parameter)
        {
            var moved = Own(parameter.detach().to(dtype ?? parameter.dtype, device ?? parameter.device, copy: true));
            moved.requires_grad_(parameter.requires_grad);
            return moved;
        }
    }
}
