package staticpods

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"
	"sync"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"mayfly.io/node-image/mayfly-node/internal/apigate"
	"mayfly.io/node-image/mayfly-node/internal/podshare"
)

// Document holds the pods that a fresh node starts with. The entrypoint puts it
// in place and RunStart takes it away, so that a node which is started again
// leaves its pods to the kubelet.
const Document = "/mayfly/static-pods.json"

const podsDir = "/var/lib/kubelet/pods/"

// Place writes the saved pods into Document, as those of this node.
func Place(saved string, values map[string]string) error {
	raw, err := os.ReadFile(saved)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text := string(raw)
	for placeholder, value := range values {
		text = strings.ReplaceAll(text, placeholder, value)
	}
	return os.WriteFile(Document, []byte(text), 0o600)
}

// RunStart starts the pods of Document. One that does not start is
// left to the kubelet, as if it had never been tried.
func RunStart(ctx context.Context, _ []string) error {
	raw, err := os.ReadFile(Document)
	if err != nil {
		return err
	}
	var pods []Pod
	if err := json.Unmarshal(raw, &pods); err != nil {
		return fmt.Errorf("%s: %w", Document, err)
	}
	if err := os.Remove(Document); err != nil {
		return err
	}
	runtime, disconnect, err := connect()
	if err != nil {
		return err
	}
	defer disconnect()
	for _, batch := range inOrder(pods) {
		var group sync.WaitGroup
		for _, pod := range batch {
			group.Go(func() {
				if err := start(ctx, runtime, pod); err != nil {
					log.Printf("%s is left to the kubelet: %v", pod.Name, err)
				}
			})
		}
		group.Wait()
	}
	return letPodsComeFirst()
}

// letPodsComeFirst lets the API server start before all that waits for it. The
// gate that opens then ends that, so without one it is not begun.
func letPodsComeFirst() error {
	if !isGateClosed() {
		return nil
	}
	if err := podshare.First(); err != nil {
		log.Printf("pods do not come first: %v", err)
		return nil
	}
	if isGateClosed() {
		return nil
	}
	return podshare.Usual()
}

func isGateClosed() bool {
	_, err := os.Stat(apigate.Closed)
	return err == nil
}

// inOrder has what all others wait for first: to start four pods at once takes
// twice as long as two.
func inOrder(pods []Pod) [][]Pod {
	var first, others []Pod
	for _, pod := range pods {
		if pod.Name == "etcd" || pod.Name == "kube-apiserver" {
			first = append(first, pod)
		} else {
			others = append(others, pod)
		}
	}
	return [][]Pod{first, others}
}

func start(ctx context.Context, runtime cri.RuntimeServiceClient, pod Pod) (err error) {
	sandbox, err := runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: pod.Sandbox})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, stopped := runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: sandbox.PodSandboxId})
			_, removed := runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: sandbox.PodSandboxId})
			err = errors.Join(err, stopped, removed)
		}
	}()
	for _, container := range pod.Containers {
		if err := prepare(pod, container, podsDir); err != nil {
			return err
		}
		created, err := runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
			PodSandboxId: sandbox.PodSandboxId, Config: container, SandboxConfig: pod.Sandbox,
		})
		if err != nil {
			return err
		}
		if _, err := runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId}); err != nil {
			return err
		}
		if err := linkLog(pod, container, created.ContainerId); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes the files that the kubelet makes before it creates a container:
// the folder of its log, and what it mounts from the pod's folder below podsDir.
func prepare(pod Pod, container *cri.ContainerConfig, podsDir string) error {
	logs := filepath.Join(pod.Sandbox.LogDirectory, filepath.Dir(container.LogPath))
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	for _, mount := range container.Mounts {
		if !strings.HasPrefix(mount.HostPath, podsDir) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(mount.HostPath), 0o750); err != nil {
			return err
		}
		content := []byte{}
		if mount.ContainerPath == "/etc/hosts" {
			hosts, err := os.ReadFile("/etc/hosts")
			if err != nil {
				return err
			}
			content = append([]byte("# Kubernetes-managed hosts file (host network).\n"), hosts...)
		}
		if err := os.WriteFile(mount.HostPath, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// linkLog makes the link by which log collectors find a container's log.
func linkLog(pod Pod, container *cri.ContainerConfig, id string) error {
	const dir = "/var/log/containers"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := fmt.Sprintf("%s_%s_%s-%s.log", pod.Sandbox.Metadata.Name, pod.Sandbox.Metadata.Namespace, container.Metadata.Name, id)
	return os.Symlink(filepath.Join(pod.Sandbox.LogDirectory, container.LogPath), filepath.Join(dir, name))
}
