package rollback

import (
	"bytes"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	// worthKeeping is from how much page cache on, in bytes, a pod has read a program
	// that the next suite may start as well.
	worthKeeping = 1 << 20
	// everything is more than any pod has; cgroup v1 takes any value for all.
	everything = "1T"
)

// memoryFiles are control files of a pod's memory cgroup: how much is charged to
// it, and where that is given back.
type memoryFiles struct{ usage, reclaim string }

// giveBackCrumbs drops the few pages of files that are charged to pods which have
// ended. The kernel keeps a cgroup that was removed, with some 30 KiB of its own,
// for as long as a page is charged to it, which where there is memory to spare is
// for good: three for every pod that ever ran.
func giveBackCrumbs(pods iter.Seq[memoryFiles]) {
	for pod := range pods {
		// There may be no such cgroup, or the kubelet has removed it by now. Not all of it can always be given back.
		usage, err := os.ReadFile(pod.usage)
		if err != nil {
			continue
		}
		charged, err := strconv.ParseInt(string(bytes.TrimSpace(usage)), 10, 64)
		if err == nil && charged < worthKeeping {
			_ = os.WriteFile(pod.reclaim, []byte(everything), 0)
		}
	}
}

// memoryOfPod finds the memory cgroup of a pod, given the cgroups of one of its
// processes (cgroups(7)); without the files' names where there is none.
func memoryOfPod(cgroups string) memoryFiles {
	for line := range strings.Lines(cgroups) {
		hierarchy := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(hierarchy) < 3 {
			continue
		}
		controllers, path := hierarchy[1], hierarchy[2]
		match := podCgroup.FindStringIndex(path)
		if match == nil {
			continue
		}
		pod := path[:match[1]]
		switch controllers {
		case "memory":
			dir := filepath.Join(cgroupRoot, "memory", pod)
			return memoryFiles{filepath.Join(dir, "memory.usage_in_bytes"), filepath.Join(dir, "memory.force_empty")}
		case "":
			dir := filepath.Join(cgroupRoot, pod)
			return memoryFiles{filepath.Join(dir, "memory.current"), filepath.Join(dir, "memory.reclaim")}
		}
	}
	return memoryFiles{}
}
