using System.ComponentModel;
using System.Diagnostics;
using WgSharp.Linux;

namespace WgSharp.Status;

/// <summary>What is longer than the screen is shown by $PAGER, or less.</summary>
internal static class Pager
{
    /// <returns>False if there is none.</returns>
    public static bool TryShow(ReadOnlySpan<byte> text)
    {
        string pager = Environment.GetEnvironmentVariable("PAGER") is { Length: > 0 } chosen ? chosen : "less";
        if (pager == "cat")
        {
            return false;
        }

        // As others do: -F for what fits after all, -R for colours, -X to leave it on the screen, -S for long lines.
        var start = new ProcessStartInfo("/bin/sh", ["-c", $"command -v {pager.Split(' ')[0]} >/dev/null || exit 127; exec {pager}"]) { RedirectStandardInput = true, UseShellExecute = false };
        start.Environment.TryAdd("LESS", "FRSX");
        try
        {
            using Process process = Process.Start(start)!;
            try
            {
                process.StandardInput.BaseStream.Write(text);
                process.StandardInput.Close();
            }
            catch (IOException closed) when (closed.HResult == Errno.EPIPE)
            {
                // Read as far as wanted, or not started at all: its status says which.
            }

            process.WaitForExit();
            return process.ExitCode != 127;
        }
        catch (Win32Exception)
        {
            // There is no shell.
            return false;
        }
    }
}
