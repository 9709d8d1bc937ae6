using System.Text;
using System.Text.Json;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

/// <summary>A safetensors file held in memory. Dtypes that TorchSharp lacks (fp8) come as their bit patterns.</summary>
internal sealed class SafetensorsFile
{
    private readonly byte[] _bytes;
    private readonly long _dataStart;
    private readonly Dictionary<string, JsonElement> _entries;

    public SafetensorsFile(string path)
    {
        _bytes = File.ReadAllBytes(path);
        int headerLength = (int)BitConverter.ToInt64(_bytes);
        _dataStart = 8 + headerLength;
        using var header = JsonDocument.Parse(Encoding.UTF8.GetString(_bytes, 8, headerLength));
        _entries = header.RootElement.EnumerateObject().Where(p => p.Name != "__metadata__").ToDictionary(p => p.Name, p => p.Value.Clone());
    }

    public IEnumerable<string> Names => _entries.Keys;

    public Tensor Read(string name)
    {
        var entry = _entries[name];
        long[] shape = [.. entry.GetProperty("shape").EnumerateArray().Select(e => e.GetInt64())];
        long[] offsets = [.. entry.GetProperty("data_offsets").EnumerateArray().Select(e => e.GetInt64())];
        var dtype = entry.GetProperty("dtype").GetString() switch
        {
            "F64" => ScalarType.Float64,
            "F32" => ScalarType.Float32,
            "F16" => ScalarType.Float16,
            "BF16" => ScalarType.BFloat16,
            "I64" => ScalarType.Int64,
            "I32" => ScalarType.Int32,
            "I16" => ScalarType.Int16,
            "I8" => ScalarType.Int8,
            "BOOL" => ScalarType.Bool,
            _ => ScalarType.Byte,
        };
        var result = empty(shape, dtype: dtype);
        if (result.NumberOfElements > 0)
            _bytes.AsSpan((int)(_dataStart + offsets[0]), (int)(offsets[1] - offsets[0])).CopyTo(result.bytes);
        return result;
    }
}
