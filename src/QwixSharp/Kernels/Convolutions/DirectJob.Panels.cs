namespace QwixSharp.Kernels.Convolutions;

/// <summary>For kernels that want panels in a form of their own: a thread prepares those that it is at work on.</summary>
internal sealed unsafe partial class DirectJob
{
    private byte* _rooms;
    private long _roomOfPanel;
    private Slot* _slots;

    /// <summary>Whether a thread prepares panels.</summary>
    private bool PreparesPanels => _roomOfPanel > 0;

    /// <summary>The bytes that prepared panels take.</summary>
    /// <param name="threads">How many threads take part.</param>
    private long PanelRooms(int threads)
    {
        _roomOfPanel = AlignedMemory.RoundUp(_kernel.PanelRoom(_weight));
        return PreparesPanels ? threads * PanelsAtOnce * (_roomOfPanel + AlignedMemory.RoundUp(sizeof(Slot))) : 0;
    }

    /// <summary>Forgets all panels.</summary>
    /// <param name="rooms">As much as <see cref="PanelRooms"/> says.</param>
    /// <param name="threads">How many threads take part.</param>
    private void ForgetPanels(byte* rooms, int threads)
    {
        if (!PreparesPanels)
            return;
        _rooms = rooms;
        _slots = (Slot*)(rooms + threads * PanelsAtOnce * _roomOfPanel);
        for (var slot = 0; slot < threads * PanelsAtOnce; slot++)
            _slots[slot].Place = -1;
    }

    /// <summary>A panel as the kernel wants it.</summary>
    /// <param name="worker">The thread that asks.</param>
    /// <param name="place">The panel among those of all groups.</param>
    private PreparedPanel* Panel(int worker, int place)
    {
        var number = worker * PanelsAtOnce + place % PanelsAtOnce;
        var slot = _slots + number;
        if (slot->Place != place)
            *slot = new() { Place = place, Panel = _kernel.Prepare(_weight, place, _segments, _rooms + number * _roomOfPanel) };
        return &slot->Panel;
    }

    /// <summary>A prepared panel.</summary>
    private struct Slot
    {
        public nint Place;
        public PreparedPanel Panel;
    }
}
