// Package staticpods saves what the kubelet told the container runtime to make
// its static pods of, and tells it the same again in another node, before that
// node's kubelet runs. The kubelet finds its pods running and adopts them; the
// API server is up while the kubelet would still be looking at its disk.
package staticpods

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const runtimeEndpoint = "unix:///run/containerd/containerd.sock"

// What the kubelet writes on sandboxes and containers, and finds its own by:
// https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/kubelet/pkg/types/labels.go
// and pkg/kubelet/types/pod_update.go.
const (
	sourceAnnotation  = "kubernetes.io/config.source"
	restartAnnotation = "io.kubernetes.container.restartCount"
	podNameLabel      = "io.kubernetes.pod.name"
	podNamespaceLabel = "io.kubernetes.pod.namespace"
	podUIDLabel       = "io.kubernetes.pod.uid"
)

// Pod is one static pod as the runtime is told of it.
type Pod struct {
	// Name is the one in its manifest, without the node's.
	Name       string                 `json:"name"`
	UID        string                 `json:"uid"`
	Sandbox    *cri.PodSandboxConfig  `json:"sandbox"`
	Containers []*cri.ContainerConfig `json:"containers"`
}

func connect() (cri.RuntimeServiceClient, func() error, error) {
	connection, err := grpc.NewClient(runtimeEndpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	return cri.NewRuntimeServiceClient(connection), connection.Close, nil
}
