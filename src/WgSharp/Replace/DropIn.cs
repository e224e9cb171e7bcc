using WgSharp.Doctor;

namespace WgSharp.Replace;

/// <summary>What is changed on a machine: two files at most, both beside what the administrator has, which stays as it is.</summary>
/// <param name="Text">The drop-in that names wgsharp; null: there is none.</param>
/// <param name="PackageMasked">Whether the package's drop-in is switched off, by a link of its name to /dev/null.</param>
internal readonly record struct DropInState(string? Text, bool PackageMasked);

/// <summary>
/// The drop-in for wg-quick's unit by which wgsharp takes the place of what others name. It has to be read last, hence its name; and since only an
/// <c>EnvironmentFile=</c> wins over one that stands elsewhere, it is one, too: its own. So all of it is one file, which is there or not, and
/// which <c>systemctl cat</c> shows.
/// </summary>
internal sealed class DropIn(string directory)
{
    /// <summary>Where the administrator's are.</summary>
    public const string DefaultDirectory = "/etc/systemd/system/wg-quick@.service.d";

    /// <summary>The package's, in whichever of systemd's directories.</summary>
    public const string PackageName = "wgsharp.conf";

    private const string Nothing = "/dev/null";

    public string Path => $"{directory}/zz-wgsharp.conf";

    public string MaskPath => $"{directory}/{PackageName}";

    public DropInState Current => new(File.Exists(Path) ? File.ReadAllText(Path) : null, new FileInfo(MaskPath).LinkTarget == Nothing);

    public string TextFor(string program) =>
        $"""
        # Written by "wgsharp replace", and taken away by "wgsharp replace --back".
        # This file is its own EnvironmentFile=, because that wins over the files that name another program. systemd leaves sections with X- alone.
        [Service]
        EnvironmentFile={Path}

        [X-Environment]
        {WgQuickSetup.VariableName}={program}

        """;

    /// <summary>Makes it so; the directory goes with the last file in it.</summary>
    public void Put(DropInState wanted)
    {
        Directory.CreateDirectory(directory);
        if (wanted.Text is null)
        {
            File.Delete(Path);
        }
        else
        {
            File.WriteAllText($"{Path}.new", wanted.Text);
            File.Move($"{Path}.new", Path, overwrite: true);
        }

        if (wanted.PackageMasked != Current.PackageMasked)
        {
            if (wanted.PackageMasked)
            {
                File.CreateSymbolicLink(MaskPath, Nothing);
            }
            else
            {
                File.Delete(MaskPath);
            }
        }

        if (!Directory.EnumerateFileSystemEntries(directory).Any())
        {
            Directory.Delete(directory);
        }
    }
}
