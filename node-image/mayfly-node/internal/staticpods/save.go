package staticpods

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// RunSave writes this node's static pods to standard output, as JSON.
func RunSave(ctx context.Context, _ []string) error {
	runtime, disconnect, err := connect()
	if err != nil {
		return err
	}
	defer disconnect()
	pods, err := list(ctx, runtime)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(pods)
}

func list(ctx context.Context, runtime cri.RuntimeServiceClient) ([]Pod, error) {
	sandboxes, err := runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{
		Filter: &cri.PodSandboxFilter{State: &cri.PodSandboxStateValue{State: cri.PodSandboxState_SANDBOX_READY}},
	})
	if err != nil {
		return nil, err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	var pods []Pod
	for _, sandbox := range sandboxes.Items {
		if sandbox.Annotations[sourceAnnotation] != "file" {
			continue
		}
		pod := Pod{
			Name: strings.TrimSuffix(sandbox.Labels[podNameLabel], "-"+hostname),
			UID:  sandbox.Labels[podUIDLabel],
		}
		status, err := runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: sandbox.Id, Verbose: true})
		if err != nil {
			return nil, err
		}
		if pod.Sandbox, err = configOf[cri.PodSandboxConfig](status.Info); err != nil {
			return nil, fmt.Errorf("sandbox of %s: %w", pod.Name, err)
		}
		if pod.Containers, err = containersOf(ctx, runtime, sandbox.Id); err != nil {
			return nil, fmt.Errorf("containers of %s: %w", pod.Name, err)
		}
		pods = append(pods, forAnyNode(pod))
	}
	return pods, nil
}

func containersOf(ctx context.Context, runtime cri.RuntimeServiceClient, sandbox string) ([]*cri.ContainerConfig, error) {
	containers, err := runtime.ListContainers(ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{
		PodSandboxId: sandbox,
		State:        &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING},
	}})
	if err != nil {
		return nil, err
	}
	var configs []*cri.ContainerConfig
	for _, container := range containers.Containers {
		config, err := containerConfig(ctx, runtime, container.Id)
		if err != nil {
			return nil, err
		}
		configs = append(configs, config)
	}
	return configs, nil
}

// containerConfig is what a container was made of.
func containerConfig(ctx context.Context, runtime cri.RuntimeServiceClient, id string) (*cri.ContainerConfig, error) {
	status, err := runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		return nil, err
	}
	return configOf[cri.ContainerConfig](status.Info)
}

// configOf finds the runtime's request in the verbose part of a status, where
// containerd keeps it as `config`.
func configOf[Config any](info map[string]string) (*Config, error) {
	var verbose struct {
		Config *Config `json:"config"`
	}
	if err := json.Unmarshal([]byte(info["info"]), &verbose); err != nil {
		return nil, err
	}
	if verbose.Config == nil {
		return nil, fmt.Errorf("the runtime does not tell what it was made of")
	}
	return verbose.Config, nil
}

// forAnyNode leaves out what is of this node: its DNS servers, the controllers
// and page sizes of its kernel, how often something had to be started again.
func forAnyNode(pod Pod) Pod {
	pod.Sandbox.Metadata.Attempt = 0
	pod.Sandbox.DnsConfig = nil
	for _, container := range pod.Containers {
		container.Metadata.Attempt = 0
		container.LogPath = container.Metadata.Name + "/0.log"
		container.Annotations[restartAnnotation] = "0"
		if resources := container.GetLinux().GetResources(); resources != nil {
			resources.HugepageLimits, resources.Unified = nil, nil
		}
	}
	return pod
}
