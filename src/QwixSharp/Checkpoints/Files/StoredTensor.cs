namespace QwixSharp.Checkpoints.Files;

/// <summary>A tensor and where its bytes are; the offset and the length were checked against the file.</summary>
internal readonly record struct StoredTensor(TensorEntry Entry, CheckpointFile File, long Offset);
