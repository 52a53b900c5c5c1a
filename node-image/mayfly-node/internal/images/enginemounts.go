package images

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// engineMounts are where a node sees the container engine's store; src/images/engine-store.ts mounts them.
var engineMounts = []string{"/mayfly/engine-layers", "/mayfly/engine-images"}

// SeparateEngineMounts cuts the mounts of the engine's store off from those of
// its host. Docker lets mounts below its data directory follow the host's only,
// so every container that starts there would show up in this node and in all its pods.
func SeparateEngineMounts(context.Context) error {
	mounted, err := mountPoints()
	if err != nil {
		return err
	}
	for _, dir := range engineMounts {
		if !slices.Contains(mounted, dir) {
			continue
		}
		if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make %s private: %w", dir, err)
		}
		// Containers may have started since this one got its mounts. They are read again, as none comes any more.
		if mounted, err = mountPoints(); err != nil {
			return err
		}
		for _, path := range slices.Backward(mounted) {
			if !strings.HasPrefix(path, dir+"/") {
				continue
			}
			if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("unmount %s: %w", path, err)
			}
		}
	}
	return nil
}

// mountPoints lists this process' mount points in the order in which they were made (proc(5), mountinfo).
func mountPoints() ([]string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var points []string
	lines := bufio.NewScanner(file)
	// A line lists every layer of an overlay.
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 {
			points = append(points, fields[4])
		}
	}
	return points, lines.Err()
}
