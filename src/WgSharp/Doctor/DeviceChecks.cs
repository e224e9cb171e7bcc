using WgSharp.Linux;

namespace WgSharp.Doctor;

/// <summary>Device nodes: what an interface is made with, and what every script writes to.</summary>
internal static class DeviceChecks
{
    private const string Panel = "TUN/TAP has to be enabled for this server: in its control panel; for a container on the host, "
        + "systemd-nspawn --bind=/dev/net/tun, docker run --device /dev/net/tun, OpenVZ vzctl set CTID --devnodes net/tun:rw --save";

    public static IEnumerable<Complaint> TunNode(Examination examination)
    {
        TunTrial tun = examination.Tun;
        if (tun.Reached == TunStep.Node)
        {
            yield return Complaint.Fault(null, tun.Why!.Wrong, Mend.At(Panel));
        }
        else if (tun.NodeWasMissing)
        {
            yield return Complaint.Warning(
                null,
                "There is no /dev/net/tun. wgsharp makes it where it may, but in wgsharp@.service it may not.",
                Mend.By("mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200"));
        }
    }

    public static IEnumerable<Complaint> TunOpen(Examination examination)
    {
        if (examination.Tun is { Reached: TunStep.Open, Why: { } why })
        {
            bool noDriver = why.ErrorNumber is Errno.ENODEV or Errno.ENXIO;
            yield return Complaint.Fault(null, why.Wrong, noDriver ? Mend.By("modprobe tun") : Mend.At(why.Mend.Length > 0 ? why.Mend : Panel));
        }
    }

    // Without CAP_NET_ADMIN the other check tells.
    public static IEnumerable<Complaint> TunCreate(Examination examination)
    {
        if (examination.Tun is { Reached: TunStep.Create, Why: { } why } && examination.Has(Capability.NetAdmin))
        {
            yield return Complaint.Fault(null, $"No interface can be made with /dev/net/tun: {Errno.Describe(why.ErrorNumber)}.", Mend.At(Panel));
        }
    }

    // The daemon does without; wg-quick redirects to it, and a shell makes a plain file of it.
    public static IEnumerable<Complaint> DevNull(Examination examination)
    {
        int errno = examination.Machine.WriteErrno("/dev/null");
        if (errno != 0)
        {
            string mend = "mknod -m 666 /dev/null c 1 3";
            yield return Complaint.Fault(
                null,
                $"/dev/null cannot be written to: {Errno.Describe(errno)}. wgsharp does without, wg-quick does not.",
                Mend.By(errno == Errno.ENOENT ? mend : $"rm -f /dev/null && {mend}"));
        }
    }
}
