package staticpods

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"
)

// Name is a static pod as the API and the container runtime know it.
type Name struct{ Namespace, Name string }

func (n Name) String() string { return n.Namespace + "/" + n.Name }

// NamesIn are the pods of manifests on this node. What is no manifest of a pod has none.
func NamesIn(paths []string) ([]Name, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	var names []Name
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var manifest struct {
			Metadata struct{ Name, Namespace string }
		}
		if yaml.Unmarshal(content, &manifest) != nil || manifest.Metadata.Name == "" {
			continue
		}
		namespace := manifest.Metadata.Namespace
		if namespace == "" {
			namespace = "default"
		}
		names = append(names, Name{namespace, manifest.Metadata.Name + "-" + strings.ToLower(hostname)})
	}
	return names, nil
}

// withServer adds the API server to its etcd. The kubelet asks it about the mirror of a
// pod before it starts that pod, and without etcd it would neither answer nor refuse.
func withServer(names []Name) []Name {
	for _, name := range names {
		if node, isEtcd := strings.CutPrefix(name.Name, "etcd-"); isEtcd && name.Namespace == "kube-system" {
			server := Name{"kube-system", "kube-apiserver-" + node}
			if !slices.Contains(names, server) {
				return append(slices.Clone(names), server)
			}
		}
	}
	return names
}

// Restart kills what runs of these pods since before then, and waits until the
// kubelet, which has to know their manifests by now, runs each anew.
func Restart(ctx context.Context, names []Name, then time.Time) error {
	names = withServer(names)
	runtime, disconnect, err := connect()
	if err != nil {
		return err
	}
	defer disconnect()
	for {
		var old []string
		missing := slices.Clone(names)
		running, err := runtime.ListContainers(ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{
			State: &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING},
		}})
		for _, container := range running.GetContainers() {
			name := Name{container.Labels[podNamespaceLabel], container.Labels[podNameLabel]}
			switch {
			case !slices.Contains(names, name):
			case container.CreatedAt < then.UnixNano():
				old = append(old, container.Id)
			default:
				missing = slices.DeleteFunc(missing, func(other Name) bool { return other == name })
			}
		}
		for _, id := range old {
			_, stopped := runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: id})
			err = errors.Join(err, stopped)
		}
		if err == nil && len(old) == 0 && len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, fmt.Errorf("static pods %v do not run as their manifests say", missing))
		case <-time.After(lookEvery):
		}
	}
}
