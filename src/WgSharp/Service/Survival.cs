using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using WgSharp.Engine;
using WgSharp.Linux;
using WgSharp.Protocol;

namespace WgSharp;

/// <summary>
/// What outlives this process, where it is a unit of systemd with a descriptor store: the interface (with it its addresses, routes and rules stay), the socket that
/// <c>wg</c> talks to (who asks meanwhile waits instead of removing it), a log of the configuration in memory, and when this unit was started lately.
/// <code>
///   first process   makes them, hands them over ──> systemd keeps them ──> crash, kill -9, systemctl restart ──> next process finds them
///   interface deleted, control socket deleted: the daemon ends by itself and takes everything back
///   systemctl stop: systemd lets go of everything, and the interface is gone
/// </code>
/// </summary>
internal sealed class Survival : IDisposable
{
    /// <summary>So many starts within <see cref="Window"/>, and what was configured is not taken over any more: it may be what the process dies of.</summary>
    public const int MostStarts = 5;

    private const string TunName = "tun";
    private const string StartsName = "starts";

    // Behind it device and inode of the socket's file.
    private const string ControlPrefix = "control-";

    public static readonly TimeSpan Window = TimeSpan.FromSeconds(10);

    private readonly DescriptorStore _store;
    private readonly ConfigurationMemory _memory;
    private readonly MemoryFile _starts;
    private SavedConfiguration? _saved;
    private string? _control;
    private int? _controlDescriptor;

    private Survival(DescriptorStore store, MemoryFile starts)
    {
        _store = store;
        _starts = starts;
        _memory = new ConfigurationMemory(store);
    }

    /// <summary>The interface of the process before, to be adopted; or null.</summary>
    public int? Tun { get; private set; }

    /// <summary>This process is one of many that have died lately: there is nothing saved for it.</summary>
    public bool IsLooping { get; private set; }

    /// <summary>For what is configured from now on.</summary>
    public IConfigurationStore Store => _memory;

    /// <param name="why">Why nothing can outlive it although there is somebody who would keep it; or null.</param>
    /// <returns>Null where nothing outlives this process.</returns>
    public static Survival? Open(out string? why)
    {
        why = null;
        if (DescriptorStore.Open() is not { } store)
        {
            return null;
        }

        try
        {
            var survival = new Survival(store, MemoryFile.Create("wgsharp starts"));
            why = survival.Take(DescriptorStore.Inherited());
            return survival;
        }
        catch (IOException refused)
        {
            // A kernel before 3.17 has no memfd_create, and there is no tmpfs that takes its place.
            why = refused.Message;
            return null;
        }
    }

    /// <summary>The starts that count: those within the window, and this one.</summary>
    /// <param name="former">What the process before has written: moments, 8 bytes each.</param>
    public static IReadOnlyList<Instant> CountStarts(ReadOnlySpan<byte> former, Instant now) =>
        [.. MemoryMarshal.Cast<byte, long>(former).ToArray().Select(moment => new Instant(moment)).Where(start => start <= now && !start.IsOlderThan(Window, now)), now];

    /// <returns>What the process before has left, the caller's from now on; null if it has left nothing, or nothing is to be believed.</returns>
    public SavedConfiguration? TakeSaved()
    {
        SavedConfiguration? saved = _saved;
        _saved = null;
        return saved;
    }

    /// <returns>Null if there is none, or it is not what the name leads to any more.</returns>
    public UapiSocket? TakeControl(string directory, string interfaceName)
    {
        if (_controlDescriptor is not { } descriptor || ParseControl(_control!) is not { } identity)
        {
            return null;
        }

        _controlDescriptor = null;
        UapiSocket? socket = UapiSocket.Adopt(descriptor, directory, interfaceName, identity);
        if (socket is null)
        {
            ForgetControl();
        }

        return socket;
    }

    /// <summary>The interface of the process before is not there any more, so whatever else it has left is worth nothing.</summary>
    public void Discard()
    {
        ForgetAll();
        _saved?.Dispose();
        _saved = null;
        Tun = null;
        if (_controlDescriptor is { } descriptor)
        {
            DescriptorStore.Own(descriptor).Dispose();
            _controlDescriptor = null;
        }
    }

    /// <summary>Everything stands, and is handed over.</summary>
    /// <returns>Null, or why not.</returns>
    public string? Keep(TunDevice tun, UapiSocket control)
    {
        string? why = _store.Keep(TunName, tun) ?? _store.Keep(StartsName, _starts.Handle);
        if (why is null && control.Identity is { } identity)
        {
            _control = NameControl(identity);
            why = _store.Keep(_control, control.Listener.SafeHandle);
        }

        return why;
    }

    public void ForgetControl()
    {
        if (_control is not null)
        {
            _ = _store.Forget(_control);
        }
    }

    /// <summary>Nobody will come after this process.</summary>
    public void ForgetAll()
    {
        ForgetControl();
        foreach (string name in (IEnumerable<string>)[TunName, StartsName, .. ConfigurationMemory.Names])
        {
            _ = _store.Forget(name);
        }
    }

    public void Dispose()
    {
        _saved?.Dispose();
        _memory.Dispose();
        _starts.Dispose();
    }

    internal static string NameControl(FileIdentity identity) => string.Create(CultureInfo.InvariantCulture, $"{ControlPrefix}{identity.Device}-{identity.Inode}");

    /// <returns>Null if it is not the name of a control socket.</returns>
    internal static FileIdentity? ParseControl(string name) =>
        name.StartsWith(ControlPrefix, StringComparison.Ordinal)
        && name[ControlPrefix.Length..].Split('-') is [var device, var inode]
        && ulong.TryParse(device, NumberStyles.None, CultureInfo.InvariantCulture, out ulong deviceNumber)
        && ulong.TryParse(inode, NumberStyles.None, CultureInfo.InvariantCulture, out ulong inodeNumber)
            ? new FileIdentity(deviceNumber, inodeNumber, IsSocket: true)
            : null;

    /// <returns>Null, or why nothing can be handed over.</returns>
    private string? Take(IReadOnlyList<(string Name, int Descriptor)> inherited)
    {
        Instant now = SystemClock.Read().Now;
        byte[] starts = [];
        foreach ((string name, int descriptor) in inherited)
        {
            switch (name)
            {
                case TunName when Tun is null:
                    Tun = descriptor;
                    continue;
                case var _ when _controlDescriptor is null && ParseControl(name) is not null:
                    (_control, _controlDescriptor) = (name, descriptor);
                    continue;
            }

            using SafeHandle file = DescriptorStore.Own(descriptor);
            if (name == StartsName)
            {
                starts = MemoryFile.ReadAll(file);
            }
            else if (ConfigurationMemory.Names.Contains(name))
            {
                TakeSaved(name, MemoryFile.ReadAll(file));
            }
        }

        IReadOnlyList<Instant> counted = CountStarts(starts, now);
        _starts.Append(MemoryMarshal.AsBytes<long>([.. counted.Select(start => start.Nanoseconds)]));
        IsLooping = counted.Count > MostStarts && Tun is not null;
        if (IsLooping || Tun is null)
        {
            _saved?.Dispose();
            _saved = null;
        }

        return _store.Forget(StartsName) ?? _store.Keep(StartsName, _starts.Handle);
    }

    private void TakeSaved(string name, byte[] log)
    {
        SavedConfiguration? saved = SavedConfiguration.Read(log);
        CryptographicOperations.ZeroMemory(log);
        if (saved is null || saved.Generation <= _saved?.Generation)
        {
            saved?.Dispose();
            return;
        }

        _saved?.Dispose();
        _saved = saved;
        _memory.Avoid(name);
    }
}
