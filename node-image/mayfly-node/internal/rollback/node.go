package rollback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
)

const (
	runtimeSocket    = "/run/containerd/containerd.sock"
	runtimeNamespace = "k8s.io"
	// Labels that containerd's CRI plugin gives to containers.
	podUIDLabel   = "io.kubernetes.pod.uid"
	kindLabel     = "io.cri-containerd.kind"
	sandboxKind   = "sandbox"
	lookAgain     = 20 * time.Millisecond
	patienceForIt = 5 * time.Second
)

// nodeRequest is what `rollback-node` reads from standard input; see written.
type nodeRequest struct {
	Dir       string   `json:"dir"`
	Gone      []string `json:"gone"`
	Wanted    []string `json:"wanted"`
	Volumes   []string `json:"volumes"`
	BeforeMs  int64    `json:"beforeMs"`
	TimeoutMs int      `json:"timeoutMs"`
}

// nodeAnswer is what it answers.
type nodeAnswer struct {
	// Files that were put back.
	Files []string `json:"files"`
	// Ended is how many pods ended.
	Ended int `json:"ended"`
	// Volumes are the folders of local volumes that were removed.
	Volumes []string `json:"volumes"`
	// Pending is what has not come about in time.
	Pending []string `json:"pending"`
	TookMs  int64    `json:"tookMs"`
}

// RunNode ends what runs on this node without an object in the API, without a
// grace period, and removes what it leaves.
func RunNode(ctx context.Context, _ []string) error {
	start := time.Now()
	var request nodeRequest
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		return fmt.Errorf("read the request on standard input: %w", err)
	}
	ctx, stop := context.WithTimeout(ctx, time.Duration(request.TimeoutMs)*time.Millisecond)
	defer stop()
	files, err := restoreNode(ctx, request.Dir)
	if err != nil {
		return err
	}
	answer := nodeAnswer{Files: orEmpty(files), Pending: []string{}}
	answer.Ended, err = endPods(ctx, request)
	switch {
	case ctx.Err() != nil:
		answer.Pending = append(answer.Pending, "pods of the old state still have processes")
	case err != nil:
		return err
	}
	answer.Volumes, err = removeVolumes(localPathDir, request.Volumes)
	if err != nil {
		return err
	}
	answer.TookMs = time.Since(start).Milliseconds()
	return json.NewEncoder(os.Stdout).Encode(answer)
}

// restoreNode puts this node's files back and starts what has to run on it.
func restoreNode(ctx context.Context, dir string) (files []string, err error) {
	files, err = restoreFiles(dir)
	if err != nil {
		return files, err
	}
	verb := "start"
	if slices.ContainsFunc(files, func(path string) bool { return slices.Contains(kubeletFiles, path) }) {
		verb = "restart"
	}
	if verb == "start" && exec.CommandContext(ctx, "systemctl", "is-active", "--quiet", "containerd", "kubelet").Run() == nil {
		return files, nil
	}
	command := exec.CommandContext(ctx, "systemctl", verb, "containerd", "kubelet")
	if output, err := command.CombinedOutput(); err != nil {
		return files, fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, output)
	}
	return files, nil
}

// process is a container's, or that which holds a pod's sandbox.
type process struct {
	task    containerd.Task
	pod     string
	sandbox bool
}

// endPods kills the containers of condemned pods, and waits until the kubelet
// has taken their sandboxes down; where it does not, they are killed as well.
func endPods(ctx context.Context, request nodeRequest) (int, error) {
	client, err := containerd.New(runtimeSocket)
	if err != nil {
		return 0, fmt.Errorf("containerd does not answer on %s: %w", runtimeSocket, err)
	}
	defer client.Close()
	ctx = namespaces.WithNamespace(ctx, runtimeNamespace)
	ended := map[string]bool{}
	start := time.Now()
	for {
		processes, err := condemned(ctx, client, request)
		if err != nil {
			return len(ended), err
		}
		if len(processes) == 0 {
			return len(ended), nil
		}
		for _, p := range processes {
			ended[p.pod] = true
			if p.sandbox && time.Since(start) < patienceForIt {
				continue
			}
			if err := p.task.Kill(ctx, syscall.SIGKILL, containerd.WithKillAll); err != nil && !errdefs.IsNotFound(err) {
				return len(ended), fmt.Errorf("kill a container of pod %s: %w", p.pod, err)
			}
		}
		select {
		case <-ctx.Done():
			return len(ended), ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}

// condemned are the processes of pods that are gone, and of those that nobody
// knows although they are older than the roll-back.
func condemned(ctx context.Context, client *containerd.Client, request nodeRequest) ([]process, error) {
	containers, err := client.Containers(ctx, fmt.Sprintf("labels.%q", podUIDLabel))
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	before := time.UnixMilli(request.BeforeMs)
	var found []process
	for _, container := range containers {
		info, err := container.Info(ctx, containerd.WithoutRefreshedMetadata)
		if err != nil {
			return nil, err
		}
		pod := info.Labels[podUIDLabel]
		unknown := !slices.Contains(request.Wanted, pod) && info.CreatedAt.Before(before)
		if !unknown && !slices.Contains(request.Gone, pod) {
			continue
		}
		task, err := container.Task(ctx, nil)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		status, err := task.Status(ctx)
		if errdefs.IsNotFound(err) || err == nil && status.Status == containerd.Stopped {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, process{task, pod, info.Labels[kindLabel] == sandboxKind})
	}
	return found, nil
}

// removeVolumes removes the folders of local volumes, except those to keep.
func removeVolumes(dir string, keep []string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return []string{}, nil
	}
	if err != nil {
		return nil, err
	}
	removed := []string{}
	for _, entry := range entries {
		if slices.Contains(keep, entry.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return removed, err
		}
		removed = append(removed, entry.Name())
	}
	return removed, nil
}
