package main

import (
	"context"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// eventful is a CRI service with events.
type eventful struct {
	cri.UnimplementedRuntimeServiceServer
	taken chan error
}

func (e eventful) GetContainerEvents(_ *cri.GetEventsRequest, stream cri.RuntimeService_GetContainerEventsServer) error {
	for range 3 {
		e.taken <- stream.Send(&cri.ContainerEventResponse{})
	}
	return stream.Context().Err()
}

func TestEventsAreTaken(t *testing.T) {
	service := eventful{taken: make(chan error)}
	if err := listening(t, service); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		select {
		case err := <-service.taken:
			if err != nil {
				t.Fatalf("an event was refused: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nobody listens to events")
		}
	}
}

func TestContainerdWithoutCRI(t *testing.T) {
	if err := listening(t, nil); !plugin.IsSkipPlugin(err) {
		t.Fatalf("want the plugin to be left out, got %v", err)
	}
}

// listening starts the registered plugin beside a CRI plugin with that service, or beside none.
func listening(t *testing.T, service cri.RuntimeServiceServer) error {
	t.Helper()
	initialised := plugin.NewPluginSet()
	if service != nil {
		registration := plugin.Registration{
			Type:   plugins.GRPCPlugin,
			ID:     "cri",
			InitFn: func(*plugin.InitContext) (any, error) { return service, nil },
		}
		if err := initialised.Add(registration.Init(plugin.NewContext(context.Background(), initialised, nil))); err != nil {
			t.Fatal(err)
		}
	}
	none := func(*plugin.Registration) bool { return false }
	for _, registration := range registry.Graph(none) {
		if registration.ID == listenerID {
			return registration.Init(plugin.NewContext(context.Background(), initialised, nil)).Err()
		}
	}
	t.Fatal("no such plugin is registered")
	return nil
}
