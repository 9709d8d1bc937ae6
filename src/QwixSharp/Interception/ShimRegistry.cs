namespace QwixSharp.Interception;

/// <summary>
/// Objects that emitted code refers to. IL can load a number but not an object, so each object gets a number.
/// </summary>
internal static class ShimRegistry
{
    private static readonly Lock Gate = new();
    private static object[] s_items = new object[256];
    private static int s_count;

    internal static int Add(object item)
    {
        lock (Gate)
        {
            if (s_count == s_items.Length)
            {
                var larger = new object[2 * s_count];
                s_items.CopyTo(larger, 0);
                Volatile.Write(ref s_items, larger);
            }

            s_items[s_count] = item;
            return s_count++;
        }
    }

    /// <summary>The object with a number. Emitted code only has numbers that were given out before it was made.</summary>
    internal static object Get(int id) => s_items[id];
}
