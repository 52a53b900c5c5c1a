package rollback

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookAgain is the time between two looks at a node's processes, which
	// can't be watched.
	lookAgain = 20 * time.Millisecond
	// patience is how long the kubelet has to take a pod's sandbox down,
	// network and all, and a container runtime to turn its process into a
	// container's, before these are killed as well.
	patience = 5 * time.Second
	// sandboxCommand is the process that does nothing but hold a pod's namespaces.
	sandboxCommand = "pause"
	// ticksPerSecond is the unit of times in /proc, the same on every Linux.
	ticksPerSecond = 100
)

// podCgroup finds the UID of a pod in the name of a cgroup: `pod<uid>`, or with
// systemd's driver `kubelet-kubepods-pod<uid>.slice` with underscores.
var podCgroup = regexp.MustCompile(`pod([0-9a-f]{8}(?:[-_]?[0-9a-f]{4}){3}[-_]?[0-9a-f]{12})(?:\.slice)?(?:/|$)`)

// process is one of a pod.
type process struct {
	id  int
	pod string
	// passing is a process that others are to end or to change.
	passing bool
	cgroups string
}

// ending is how the condemned pods of a node came to their end.
type ending struct {
	// pods has the memory cgroup of each by its UID.
	pods map[string]memoryFiles
	// gone is when no process but those of sandboxes was left.
	gone time.Time
	// left is what has not ended in time.
	left []process
}

// endPods kills the processes of condemned pods, and waits until the kubelet has
// taken their sandboxes down.
func endPods(ctx context.Context, request nodeRequest) (ending, error) {
	start := time.Now()
	end := ending{pods: map[string]memoryFiles{}, gone: start}
	for {
		processes, err := condemned(request)
		end.left = processes
		if err != nil || len(processes) == 0 {
			return end, err
		}
		for _, p := range processes {
			if _, known := end.pods[p.pod]; !known {
				end.pods[p.pod] = memoryOfPod(p.cgroups)
			}
			if p.passing && time.Since(start) < patience {
				continue
			}
			end.gone = time.Now()
			if err := unix.Kill(p.id, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return end, fmt.Errorf("kill process %d of pod %s: %w", p.id, p.pod, err)
			}
		}
		select {
		case <-ctx.Done():
			return end, nil
		case <-time.After(lookAgain):
		}
	}
}

// condemned are the processes of pods that are gone, and of those that nobody
// knows although they are older than the roll-back. They are found by their
// cgroup, which no process of a pod can leave.
func condemned(request nodeRequest) ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	before := time.UnixMilli(request.BeforeMs)
	var found []process
	for _, entry := range entries {
		id, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		cgroups, err := os.ReadFile("/proc/" + entry.Name() + "/cgroup")
		if err != nil {
			continue // it has ended
		}
		pod := podOfCgroups(string(cgroups))
		if pod == "" || slices.Contains(request.Wanted, pod) {
			continue
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue
		}
		command, state, started := parseStat(string(stat))
		if state == "Z" {
			continue // it has ended, and its parent has not asked yet
		}
		if slices.Contains(request.Gone, pod) || started.Before(before) {
			found = append(found, process{id, pod, isPassing(command), string(cgroups)})
		}
	}
	return found, nil
}

// isPassing tells what the kubelet takes down (sandboxes) or a container runtime
// is about to turn into a container from the rest. crun waits for ever to start a
// container whose process was killed just before, and with it the kubelet.
func isPassing(command string) bool {
	return command == sandboxCommand || command == "crun" || strings.HasPrefix(command, "runc:[")
}

// podOfCgroups is the UID of the pod that a process with these cgroups belongs to.
func podOfCgroups(cgroups string) string {
	match := podCgroup.FindStringSubmatch(cgroups)
	if match == nil {
		return ""
	}
	return strings.ReplaceAll(match[1], "_", "-")
}

// parseStat reads what is needed of /proc/PID/stat (proc_pid_stat(5)); the
// command is in parentheses and may contain any character.
func parseStat(stat string) (command, state string, started time.Time) {
	open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return "", "", time.Now()
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 20 {
		return stat[open+1 : end], "", time.Now()
	}
	ticks, _ := strconv.ParseInt(fields[19], 10, 64)
	return stat[open+1 : end], fields[0], bootTime().Add(time.Duration(ticks) * time.Second / ticksPerSecond)
}

// bootTime is when the machine started.
func bootTime() time.Time {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return time.Now()
	}
	return time.Now().Add(-time.Duration(now.Nano()))
}
