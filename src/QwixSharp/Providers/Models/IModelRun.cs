using QwixSharp.Interception;

namespace QwixSharp.Providers.Models;

/// <summary>One forward pass of a model, from its inputs to its result.</summary>
internal interface IModelRun : IOpInterceptor, IDisposable
{
    /// <summary>Sees the inputs before the model runs.</summary>
    /// <param name="method">The method that is called.</param>
    /// <param name="inputs">Its arguments.</param>
    void Begin(string method, IReadOnlyList<object?> inputs);

    /// <summary>Sees the result, and may put another in its place.</summary>
    /// <param name="method">The method that was called.</param>
    /// <param name="result">Its result.</param>
    TResult End<TResult>(string method, TResult result);
}
