using QwixSharp.LiteRT;
using QwixSharp.Tool.Output;

namespace QwixSharp.Tool.Commands;

/// <summary>What <c>qwix inspect</c> says of a .tflite file.</summary>
internal static class LiteRtInspection
{
    /// <summary>Whether a path is that of such a file.</summary>
    internal static bool Recognizes(string path) => path.EndsWith(".tflite", StringComparison.OrdinalIgnoreCase);

    /// <summary>Opens a file and writes its ops, tensors and quantization.</summary>
    internal static void Write(Terminal terminal, string path)
    {
        var model = LiteRtModel.Open(path);
        if (!terminal.Json)
        {
            terminal.WriteLine(model.ToString());
            return;
        }

        terminal.WriteJson(new
        {
            Path = path,
            Format = "tflite",
            Metadata = model.Metadata.ToDictionary(m => m.Key, m => m.Value.Length),
            model.Signatures,
            Subgraphs = model.Subgraphs.Select(s => new
            {
                s.Name,
                s.Inputs,
                s.Outputs,
                Operators = s.Operators.Select(o => new { o.Name, o.Version, o.Inputs, o.Outputs }),
                Tensors = s.Tensors.Select(t => new { t.Name, Type = t.Type.ToString(), t.Shape, Bytes = t.Data.Length, t.Quantization }),
            }),
        });
    }
}
