using System.Globalization;
using QwixSharp;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Samples.Common;
using QwixSharp.Samples.Digits;
using static TorchSharp.torch;

const string Usage = """
    Trains a small CNN on handwritten digits in float32, then quantizes it to 8, 4, 3 and 2 bits: after training (PTQ), and with
    some more training in quantized numbers (QAT).

      --seeds N         trainings whose mean is shown (default: 3)
      --plot FILE.png   where the learning curves of the first go (default: digits.png)
    """;
const int Epochs = 30;
const int MoreEpochs = 15;
string[] weightTypes = ["int8", "int4", "int3", "int2"];

int seeds = 3;
string plot = "digits.png";
for (int i = 0; i < args.Length; i += 2)
{
    switch (args[i], i + 1 < args.Length ? args[i + 1] : null)
    {
        case ("--plot", { } file):
            plot = file;
            break;
        case ("--seeds", { } number) when int.TryParse(number, CultureInfo.InvariantCulture, out int count) && count > 0:
            seeds = count;
            break;
        default:
            Console.WriteLine(Usage);
            return args[i] is "--help" or "-h" ? 0 : 1;
    }
}

var training = new DigitsTraining(64, 1, 8, 8);
var curves = new LearningCurves("A small CNN learns handwritten digits", "epoch");
var accuracies = new Dictionary<string, List<double>>();
StepProgress.Run([.. Enumerable.Range(1, seeds).Select(seed => ($"Train and quantize: seed {seed}", (Action<Action<double>>)(report => Run(seed, report))))]);

double Mean(string run) => 100 * accuracies[run].Average();
string Percent(double value) => ResultTable.Number(value, 1);
var table = new ResultTable($"Accuracy on {training.TestImages} test images in percent", "weights", "PTQ", "QAT", "QAT wins back");
table.Add("float32", Percent(Mean("float32")), "", "");
foreach (string type in weightTypes)
{
    double ptq = Mean("PTQ " + type), qat = Mean("QAT " + type), lost = Mean("float32") - ptq;
    table.Add(type, Percent(ptq), Percent(qat), lost < 0.5 ? "" : Percent(100 * (qat - ptq) / lost) + " % of the loss");
}

table.Write();
Console.WriteLine($"Means of {seeds} trainings. Activations are int8.");
Console.WriteLine($"Learning curves: {curves.Save(plot)}");
return 0;

void Run(int seed, Action<double> report)
{
    manual_seed(seed);
    using var example = training.Example;
    using var network = new DigitsCnn();
    int done = 0, all = Epochs + (weightTypes.Length * MoreEpochs);
    training.Train(network, Epochs, 1e-3, seed, (epoch, loss) => Note("float32", network, epoch, loss));
    Keep("float32", training.Accuracy(network));
    foreach (string type in weightTypes)
    {
        var rule = new QuantizationRule { WeightQType = type, ActQType = "int8" };
        using (var ptq = Qwix.QuantizeModel(network, new PtqProvider([rule]), example))
            Keep("PTQ " + type, training.Accuracy(ptq));

        using var copy = new DigitsCnn();
        copy.load_state_dict(network.state_dict());
        using var qat = Qwix.QuantizeModel(copy, new QtProvider([rule]), example);
        training.Train(qat, MoreEpochs, 5e-4, seed, (epoch, loss) => Note("QAT " + type, qat, Epochs + epoch, loss));

        // What is served is the trained network, quantized once and for all.
        using var served = Qwix.QuantizeModel(copy, new PtqProvider([rule]), example);
        Keep("QAT " + type, training.Accuracy(served));
    }

    void Note(string run, nn.Module<Tensor, Tensor> model, int epoch, double loss)
    {
        report((double)++done / all);
        if (seed > 1)
            return;
        curves.AddLoss(run, epoch, loss);
        curves.AddAccuracy(run, epoch, training.Accuracy(model));
    }
}

void Keep(string run, double accuracy)
{
    if (!accuracies.TryGetValue(run, out var list))
        accuracies[run] = list = [];
    list.Add(accuracy);
}
