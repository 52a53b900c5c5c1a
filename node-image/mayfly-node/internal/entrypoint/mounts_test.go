package entrypoint

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountPointsAreRead(t *testing.T) {
	mounts, err := parseMounts(strings.NewReader(
		`1187 1170 0:30 /docker/0a1b /sys/fs/cgroup/cpu,cpuacct ro,nosuid,nodev,noexec,relatime master:9 - cgroup cgroup rw,cpu,cpuacct
1190 1170 0:80 / /mnt/with\040blank rw shared:1 master:2 - tmpfs tmpfs rw,size=1k
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []mountPoint{
		{"/docker/0a1b", "/sys/fs/cgroup/cpu,cpuacct", "ro,nosuid,nodev,noexec,relatime", "rw,cpu,cpuacct"},
		{"/", "/mnt/with blank", "rw", "rw,size=1k"},
	}
	for i := range want {
		if i >= len(mounts) || mounts[i] != want[i] {
			t.Errorf("read %+v", mounts)
		}
	}
}

func TestALineThatIsNoMountPointIsToldOf(t *testing.T) {
	if _, err := parseMounts(strings.NewReader("rubbish\n")); err == nil || !strings.Contains(err.Error(), "rubbish") {
		t.Errorf("got %v", err)
	}
}

// A bind remount that drops an option is refused where another user namespace owns it.
func TestARemountKeepsEveryOptionButReadOnly(t *testing.T) {
	flags, readOnly := remountFlags("ro,nosuid,nodev,noexec,relatime")
	want := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RELATIME)
	if !readOnly || flags != want {
		t.Errorf("flags %#x, read-only %v", flags, readOnly)
	}
	if _, readOnly := remountFlags("rw,noatime"); readOnly {
		t.Error("a writable mount is taken for a read-only one")
	}
}

func TestHierarchiesThatTheEngineDidNotGiveAreMissing(t *testing.T) {
	table := "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t33\t1\ncpuacct\t1\t33\t1\nnet_cls\t0\t1\t1\nnet_prio\t0\t1\t1\nhugetlb\t0\t1\t1\nrdma\t0\t1\t0\n"
	mounts := []mountPoint{
		{path: "/sys/fs/cgroup", superOptions: "ro,mode=755"},
		{path: "/sys/fs/cgroup/cpu,cpuacct", superOptions: "rw,cpu,cpuacct"},
	}
	if got, want := missingHierarchies(table, mounts), []string{"net_cls", "net_prio", "hugetlb", "net_cls,net_prio"}; !slices.Equal(got, want) {
		t.Errorf("missing are %q, not %q", got, want)
	}
	hybrid := append(mounts, mountPoint{path: "/sys/fs/cgroup/net_cls,net_prio", superOptions: "rw,net_cls,net_prio"})
	if got, want := missingHierarchies(table, hybrid), []string{"hugetlb"}; !slices.Equal(got, want) {
		t.Errorf("missing are %q, not %q", got, want)
	}
}
