namespace QwixSharp.Interception;

/// <summary>
/// Objects that emitted code refers to. IL can load a number but not an object, so each object gets a number.
/// </summary>
internal static class ShimRegistry
{
    private static readonly Lock Gate = new();
    private static object[] _items = new object[256];
    private static int _count;

    internal static int Add(object item)
    {
        lock (Gate)
        {
            if (_count == _items.Length)
            {
                var larger = new object[2 * _count];
                _items.CopyTo(larger, 0);
                Volatile.Write(ref _items, larger);
            }

            _items[_count] = item;
            return _count++;
        }
    }

    /// <summary>The object with a number. Emitted code only has numbers that were given out before it was made.</summary>
    internal static object Get(int id) => _items[id];
}
