package rollback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mayfly.io/node-image/mayfly-node/internal/staticpods"
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
	// GoneMs is how long it took until only sandboxes were left, without a
	// container in them; TookMs until those were taken down as well.
	GoneMs int64 `json:"goneMs"`
	TookMs int64 `json:"tookMs"`
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
	files, err := restoreFiles(request.Dir)
	if err != nil {
		return err
	}
	pods, err := staticPodsOf(files)
	if err != nil {
		return err
	}
	if err := startServices(ctx, files, pods); err != nil {
		return err
	}
	answer := nodeAnswer{Files: orEmpty(files), Pending: []string{}}
	end, err := endPods(ctx, request)
	if err != nil {
		return err
	}
	answer.Ended, answer.GoneMs = len(end.pods), end.gone.Sub(start).Milliseconds()
	for _, process := range end.left {
		answer.Pending = append(answer.Pending, fmt.Sprintf("process %d of pod %s has not ended", process.id, process.pod))
	}
	answer.Volumes, err = removeVolumes(localPathDir, request.Volumes)
	if err != nil {
		return err
	}
	giveBackCrumbs(maps.Values(end.pods))
	answer.TookMs = time.Since(start).Milliseconds()
	return json.NewEncoder(os.Stdout).Encode(answer)
}

// nodeServices have to run on every node.
var nodeServices = []string{"containerd", "kubelet"}

// startServices starts what has to run on a node, anew where its files changed, and
// the static pods of changed manifests. On a node that was just switched on it waits
// until that can be asked for.
func startServices(ctx context.Context, changed []string, pods []staticpods.Name) error {
	if _, err := os.Stat("/run/systemd/system"); errors.Is(err, fs.ErrNotExist) {
		return nil // a control plane without a kubelet
	}
	start := time.Now()
	isOfKubelet := func(path string) bool { return slices.Contains(kubeletFiles, path) }
	isChanged := len(pods) > 0 || slices.ContainsFunc(changed, isOfKubelet)
	if !isChanged && areActive(ctx, nodeServices) {
		return nil
	}
	if err := again(ctx, func() error { return systemctl(ctx, "start", nodeServices...) }); err != nil {
		return err
	}
	if isChanged {
		// It may be at work on what a manifest said before.
		if err := again(ctx, func() error { return systemctl(ctx, "restart", "kubelet") }); err != nil {
			return err
		}
	}
	if err := again(ctx, func() error { return kubeletHealth(ctx) }); err != nil {
		return err
	}
	if len(pods) == 0 {
		return nil
	}
	return staticpods.Restart(ctx, pods, start)
}

// again tries until it succeeds, or time is up.
func again(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lookAgain):
		}
	}
}

func areActive(ctx context.Context, services []string) bool {
	arguments := append([]string{"show", "--property=ActiveState", "--value"}, services...)
	output, err := exec.CommandContext(ctx, "systemctl", arguments...).Output()
	states := strings.Fields(string(output))
	return err == nil && len(states) == len(services) && !slices.ContainsFunc(states, func(state string) bool { return state != "active" })
}

func systemctl(ctx context.Context, verb string, services ...string) error {
	command := exec.CommandContext(ctx, "systemctl", append([]string{verb}, services...)...)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, output)
	}
	return nil
}

// kubeletHealth is nil once the kubelet looks after its pods.
func kubeletHealth(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost:10248/healthz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the kubelet says %s", response.Status)
	}
	return nil
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
