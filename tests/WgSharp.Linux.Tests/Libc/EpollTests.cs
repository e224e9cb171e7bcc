namespace WgSharp.Linux.Tests;

/// <summary>The events of an epoll instance carry what their descriptors were added under.</summary>
public sealed class EpollTests : IDisposable
{
    private readonly Epoll _epoll = new();
    private readonly FileDescriptor _a = Counter();
    private readonly FileDescriptor _b = Counter();

    [Fact]
    public void An_event_carries_the_key_of_its_descriptor_and_what_happened()
    {
        const ulong key = 0xfedc_ba98_7654_3210;
        _epoll.Add(_a, key);
        _epoll.Add(_b, key + 1, events: 0);
        _epoll.Add(null, key + 2);
        Assert.Empty(Told());
        Count(_a);
        Count(_b);
        Assert.Equal([new EpollEvent(key, Libc.EPOLLIN)], Told());
        Assert.Equal([new EpollEvent(key, Libc.EPOLLIN)], Told());
    }

    [Fact]
    public void What_has_no_room_is_told_the_next_time()
    {
        _epoll.Add(_a, 1, Libc.EPOLLIN | Libc.EPOLLONESHOT);
        _epoll.Add(_b, 2, Libc.EPOLLIN | Libc.EPOLLONESHOT);
        Count(_a);
        Count(_b);
        EpollEvent first = Assert.Single(Told(room: 1));
        EpollEvent second = Assert.Single(Told(room: 1));
        Assert.Equal(3UL, first.Key + second.Key);
        Assert.Empty(Told());
    }

    [Fact]
    public void What_was_told_once_is_told_again_after_it_is_asked_for_again()
    {
        const uint once = Libc.EPOLLIN | Libc.EPOLLONESHOT;
        _epoll.Add(_a, 1, once);
        Count(_a);
        Assert.Single(Told());
        Assert.Empty(Told());
        _epoll.Modify(_a, 7, once);
        Assert.Equal([new EpollEvent(7, Libc.EPOLLIN)], Told());
    }

    [Fact]
    public void What_is_not_watched_any_more_is_neither_told_nor_asked_for_nor_removed()
    {
        _epoll.Add(_a, 1);
        Count(_a);
        _epoll.Remove(_a);
        _epoll.Modify(_a, 1, Libc.EPOLLIN);
        _epoll.Remove(_a);
        _epoll.Remove(null);
        _epoll.Modify(null, 1, Libc.EPOLLIN);
        Assert.Empty(Told());
    }

    [Fact]
    public void What_is_watched_already_is_refused()
    {
        _epoll.Add(_a, 1);
        Assert.Equal(Errno.EEXIST, Assert.Throws<IOException>(() => _epoll.Add(_a, 2)).HResult);
    }

    [Fact]
    public void One_instance_can_watch_another()
    {
        using Epoll inner = Epoll.TryCreate()!;
        inner.Add(_a, 1);
        _epoll.Add(inner.Descriptor, 2);
        Assert.Empty(Told());
        Count(_a);
        Assert.Equal([new EpollEvent(2, Libc.EPOLLIN)], Told());
    }

    public void Dispose()
    {
        _epoll.Dispose();
        _a.Dispose();
        _b.Dispose();
    }

    private EpollEvent[] Told(int room = 4)
    {
        Span<EpollEvent> events = stackalloc EpollEvent[room];
        return [.. events[.._epoll.Wait(events, milliseconds: 0)]];
    }

    /// <summary>Readable once it has counted.</summary>
    private static FileDescriptor Counter() => FileDescriptor.Required(Libc.eventfd(0, Libc.O_CLOEXEC | Libc.O_NONBLOCK), "eventfd");

    private static unsafe void Count(FileDescriptor counter)
    {
        ulong one = 1;
        Assert.Equal(sizeof(ulong), Libc.write(counter, &one, sizeof(ulong)));
    }
}
