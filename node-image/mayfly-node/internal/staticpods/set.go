package staticpods

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// savedManifests are those of the cluster's snapshots: a roll-back must not
	// take back what the cluster's present nodes need.
	savedManifests = "/mayfly/snapshots/*/files" + ManifestDir

	lookEvery         = 50 * time.Millisecond
	restartAfter      = time.Second
	restartAgainAfter = 15 * time.Second
	stopWithinSeconds = 5
)

// flagValues has the flags to change by the names of the pods, then their own.
type flagValues map[string]map[string]string

// RunSet changes flags of static pods as standard input says, and waits until
// they run with them.
func RunSet(ctx context.Context, _ []string) error {
	var wanted flagValues
	if err := json.NewDecoder(os.Stdin).Decode(&wanted); err != nil {
		return fmt.Errorf("read the request on standard input: %w", err)
	}
	saved, err := filepath.Glob(savedManifests)
	if err != nil {
		return err
	}
	for _, dir := range append([]string{ManifestDir}, saved...) {
		for pod, flags := range wanted {
			if err := setFlags(records, filepath.Join(dir, pod+".yaml"), flags); err != nil {
				return err
			}
		}
	}
	return restartUntilSet(ctx, wanted)
}

// setFlags leaves a manifest alone that is not there: the snapshot was taken without it.
func setFlags(records, path string, flags map[string]string) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text := string(content)
	for name, value := range flags {
		line := regexp.MustCompile(`(?m)^(\s*- --` + regexp.QuoteMeta(name) + `)=.*$`)
		text = line.ReplaceAllString(text, "${1}="+value)
	}
	if text == string(content) {
		return nil
	}
	return replaceManifest(records, path, content, []byte(text))
}

// restartUntilSet ends the containers that run without their flags; the kubelet
// starts them with what the manifest says. By itself it does so only for
// another image (since Kubernetes 1.31). Under another UID the pod would be
// another one: etcd's would start only when its mirror had gone from an API
// that is not there without etcd.
func restartUntilSet(ctx context.Context, wanted flagValues) error {
	runtime, disconnect, err := connect()
	if err != nil {
		return err
	}
	defer disconnect()
	// The kubelet reads the manifest meanwhile.
	next := time.Now().Add(restartAfter)
	for {
		missing, err := missingFlags(ctx, runtime, wanted)
		if err == nil && len(missing) == 0 {
			return nil
		}
		if time.Now().After(next) {
			for _, container := range missing {
				if container.id != "" {
					_, stopped := runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: container.id, Timeout: stopWithinSeconds})
					err = errors.Join(err, stopped)
				}
			}
			next = time.Now().Add(restartAgainAfter)
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, fmt.Errorf("%d pods do not run with what was set: %v", len(missing), missing))
		case <-time.After(lookEvery):
		}
	}
}

// lacking is a pod without its flags; with the id of its container, if that runs.
type lacking struct{ pod, id string }

func missingFlags(ctx context.Context, runtime cri.RuntimeServiceClient, wanted flagValues) ([]lacking, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	var missing []lacking
	for pod, flags := range wanted {
		running, err := runtime.ListContainers(ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{
			State:         &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING},
			LabelSelector: map[string]string{podNameLabel: pod + "-" + hostname},
		}})
		if err != nil {
			return nil, err
		}
		if len(running.Containers) == 0 {
			missing = append(missing, lacking{pod: pod})
		}
		for _, container := range running.Containers {
			config, err := containerConfig(ctx, runtime, container.Id)
			if err != nil {
				return nil, err
			}
			if !hasFlags(config.Command, flags) {
				missing = append(missing, lacking{pod: pod, id: container.Id})
			}
		}
	}
	return missing, nil
}

func hasFlags(command []string, flags map[string]string) bool {
	for name, value := range flags {
		if !slices.Contains(command, "--"+name+"="+value) {
			return false
		}
	}
	return true
}
