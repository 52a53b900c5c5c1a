package entrypoint

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// mountCgroups gives systemd, containerd and the kubelet cgroups that they may
// write to. Without --privileged the engine mounts them read-only.
func mountCgroups(context.Context) error {
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	named := false
	for _, m := range mounts {
		if m.path != cgroupRoot && !strings.HasPrefix(m.path, cgroupRoot+"/") {
			continue
		}
		if err := remountWritable(m); err != nil {
			return err
		}
		named = named || strings.Contains(m.superOptions, "name=systemd")
	}
	if cgroupV2() {
		return nil
	}
	if err := coverMissingHierarchies(mounts); err != nil {
		return err
	}
	if err := leaveUnifiedOut(mounts); err != nil {
		return err
	}
	if named {
		return nil
	}
	// systemd on cgroup v1 keeps its own hierarchy; a host without systemd has none to share.
	dir := filepath.Join(cgroupRoot, "systemd")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return mounted(unix.Mount("cgroup", dir, "cgroup", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "none,name=systemd"), dir)
}

// coverMissingHierarchies keeps systemd from mounting hierarchies that the
// engine did not give this container. It has no cgroup of its own in those, so
// all nodes of a host would share them, and with them the cgroups of pods that
// have the same UID in every cluster.
func coverMissingHierarchies(mounts []mountPoint) error {
	table, err := os.ReadFile("/proc/cgroups")
	if err != nil {
		return err
	}
	for _, name := range missingHierarchies(string(table), mounts) {
		dir := filepath.Join(cgroupRoot, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := mounted(unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755,size=64k"), dir); err != nil {
			return err
		}
	}
	return nil
}

// missingHierarchies are the folders in which systemd would look for hierarchies
// of cgroup v1 that are not mounted. The table is /proc/cgroups, described in
// cgroups(7): name, hierarchy, cgroups, enabled.
func missingHierarchies(table string, mounts []mountPoint) []string {
	given := map[string]bool{}
	for _, m := range mounts {
		if filepath.Dir(m.path) != cgroupRoot {
			continue
		}
		given[filepath.Base(m.path)] = true
		for option := range strings.SplitSeq(m.superOptions, ",") {
			given[option] = true
		}
	}
	var names []string
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) == 4 && fields[3] == "1" {
			names = append(names, fields[0])
		}
	}
	missing := slices.DeleteFunc(names, func(name string) bool { return given[name] })
	if slices.Contains(missing, "net_cls") && slices.Contains(missing, "net_prio") {
		missing = append(missing, "net_cls,net_prio") // as systemd mounts the two
	}
	return missing
}

// unifiedHierarchy is where systemd mounts cgroup v2 beside the hierarchies of
// cgroup v1.
const unifiedHierarchy = cgroupRoot + "/unified"

// leaveUnifiedOut takes cgroup v2 away from a node on cgroup v1. Nothing there
// needs it, all nodes of a host would share it, and crun refuses to start
// containers where it has a controller.
func leaveUnifiedOut(mounts []mountPoint) error {
	for _, m := range mounts {
		if m.path != unifiedHierarchy {
			continue
		}
		if err := unix.Unmount(m.path, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", m.path, err)
		}
	}
	if err := os.Remove(unifiedHierarchy); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// initArguments tell systemd not to mount what leaveUnifiedOut took away. In a
// container it reads its own arguments as it reads the kernel's elsewhere.
func initArguments() []string {
	if cgroupV2() {
		return nil
	}
	return []string{"systemd.legacy_systemd_cgroup_controller=1"}
}

// cgroupV2 tells whether the unified hierarchy is mounted.
func cgroupV2() bool {
	var stat unix.Statfs_t
	return unix.Statfs(cgroupRoot, &stat) == nil && stat.Type == unix.CGROUP2_SUPER_MAGIC
}

func remountSys(context.Context) error {
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m.path != "/sys" {
			continue
		}
		if err := remountWritable(m); err != nil {
			return err
		}
		// A network namespace has a sysfs of its own, which the engine made
		// read-only as a whole and not just where it is mounted.
		if strings.HasPrefix(m.superOptions, "ro") {
			flags, _ := remountFlags(m.options)
			return mounted(unix.Mount("", m.path, "", flags&^unix.MS_BIND, ""), m.path)
		}
	}
	return nil
}

// createDevices makes what --privileged would have passed through and a node
// cannot do without: the kubelet reads /dev/kmsg, FUSE file systems need /dev/fuse.
func createDevices(context.Context) error {
	for _, device := range []struct {
		path         string
		major, minor uint32
	}{{"/dev/kmsg", 1, 11}, {"/dev/fuse", 10, 229}} {
		err := unix.Mknod(device.path, unix.S_IFCHR|0o666, int(unix.Mkdev(device.major, device.minor)))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("mknod %s: %w (the container needs CAP_MKNOD and a device cgroup rule)", device.path, err)
		}
	}
	return nil
}

// anonymousVolume is the folder of a volume that the engine made for this
// container alone.
var anonymousVolume = regexp.MustCompile(`/[0-9a-f]{64}/_data$`)

// separateVolumes keeps what is mounted in the node's own volumes from showing
// up on the host. With one mount that travels both ways among a container's
// mounts, Docker starts it with all of the host's mounts shared; the volumes of
// pods would stay mounted on the host when the node is gone, and the engine
// could not delete its volumes.
func separateVolumes(context.Context) error {
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if !anonymousVolume.MatchString(m.root) {
			continue
		}
		if err := mounted(unix.Mount("", m.path, "", unix.MS_PRIVATE, ""), m.path); err != nil {
			return err
		}
	}
	return nil
}

// shareMounts lets mounts made in the node, such as volumes, reach its pods.
func shareMounts(context.Context) error {
	return mounted(unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""), "/")
}

// mountPoint is one line of /proc/self/mountinfo, described in proc(5).
type mountPoint struct {
	root         string // which folder of its file system is mounted
	path         string
	options      string
	superOptions string
}

func readMounts() ([]mountPoint, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return parseMounts(file)
}

func parseMounts(mountinfo io.Reader) ([]mountPoint, error) {
	var mounts []mountPoint
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields, super := strings.Fields(before), strings.Fields(after)
		if len(fields) < 6 || len(super) < 3 {
			return nil, fmt.Errorf("unexpected line in /proc/self/mountinfo: %q", lines.Text())
		}
		mounts = append(mounts, mountPoint{root: unescape(fields[3]), path: unescape(fields[4]), options: fields[5], superOptions: super[2]})
	}
	return mounts, lines.Err()
}

// unescape undoes what the kernel does to blanks in paths: "\\040" for a space.
func unescape(path string) string {
	return octal.ReplaceAllStringFunc(path, func(escaped string) string {
		code, _ := strconv.ParseUint(escaped[1:], 8, 8) // three octal digits, by the expression
		return string([]byte{byte(code)})
	})
}

var octal = regexp.MustCompile(`\\[0-3][0-7]{2}`)

var mountFlags = map[string]uintptr{
	"nosuid":   unix.MS_NOSUID,
	"nodev":    unix.MS_NODEV,
	"noexec":   unix.MS_NOEXEC,
	"relatime": unix.MS_RELATIME,
	"noatime":  unix.MS_NOATIME,
}

// remountWritable lifts "read-only" from a mount point and keeps its other
// options: a bind remount that drops one of them is refused in a user namespace.
func remountWritable(m mountPoint) error {
	flags, readOnly := remountFlags(m.options)
	if !readOnly {
		return nil
	}
	return mounted(unix.Mount("", m.path, "", flags, ""), m.path)
}

func remountFlags(options string) (flags uintptr, readOnly bool) {
	flags = unix.MS_REMOUNT | unix.MS_BIND
	for option := range strings.SplitSeq(options, ",") {
		readOnly = readOnly || option == "ro"
		flags |= mountFlags[option]
	}
	return flags, readOnly
}

func mounted(err error, path string) error {
	if err != nil {
		return fmt.Errorf("mount %s: %w (the container needs CAP_SYS_ADMIN, and no AppArmor or seccomp profile)", path, err)
	}
	return nil
}

// RunKubeletCgroup makes the cgroup that the kubelet puts its pods into. It runs
// right before the kubelet, as systemd has to empty the root cgroup first on
// cgroup v2: a cgroup with processes cannot hand controllers down.
func RunKubeletCgroup(context.Context, []string) error {
	if cgroupV2() {
		if err := leaveRootCgroup(cgroupRoot); err != nil {
			return err
		}
		return createUnifiedCgroup("kubelet")
	}
	hierarchies, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return err
	}
	for _, hierarchy := range hierarchies {
		if !hierarchy.IsDir() {
			continue
		}
		for _, name := range []string{"kubelet", "kubelet.slice"} {
			dir := filepath.Join(cgroupRoot, hierarchy.Name(), name)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				log.Printf("no cgroup %s: %v", dir, err)
				continue
			}
			inheritCPUSet(dir)
		}
	}
	return nil
}

// inheritCPUSet fills in what a new cpuset cgroup v1 lacks: it starts with no
// processor and no memory node, and refuses every process until it has some.
func inheritCPUSet(dir string) {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		if value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file)); err == nil {
			if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
				log.Printf("%s/%s: %v", dir, file, err)
			}
		}
	}
}

// leaveRootCgroup moves what runs in the node's root cgroup to systemd's own.
// systemd emptied it, but for whoever came through the engine before that: the
// engine starts commands in the root cgroup as long as it hands nothing down.
func leaveRootCgroup(root string) error {
	processes, err := os.ReadFile(filepath.Join(root, "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, id := range strings.Fields(string(processes)) {
		err := os.WriteFile(filepath.Join(root, "init.scope", "cgroup.procs"), []byte(id), 0o644)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			log.Printf("process %s stays in the root cgroup: %v", id, err)
		}
	}
	return nil
}

func createUnifiedCgroup(names ...string) error {
	for _, name := range append([]string{"."}, names...) {
		dir := filepath.Join(cgroupRoot, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			return err
		}
		for _, controller := range strings.Fields(string(controllers)) {
			// One at a time: a controller that cannot be handed down must not keep the others.
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
				log.Printf("cgroup controller %s is not handed down from %s: %v", controller, dir, err)
			}
		}
	}
	return nil
}
