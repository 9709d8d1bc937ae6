using QwixSharp.Interception;

namespace QwixSharp.Providers.Models;

/// <summary>One forward pass of a model, from its inputs to its result.</summary>
internal interface IModelRun : IOpInterceptor, IDisposable
{
    /// <summary>Sees the inputs before the model runs.</summary>
    void Begin(IReadOnlyList<object?> inputs);

    /// <summary>Sees the result, and may put another in its place.</summary>
    /// <param name="method">The method that was called.</param>
    /// <param name="result">Its result.</param>
    TResult End<TResult>(string method, TResult result);
}
